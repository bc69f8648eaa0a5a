#!/usr/bin/env bash
# What is given away: a tarball and a Debian package of the release build, in target/dist, each with
# the binary, completions, the unit and the documents.
# Usage: ci/dist.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/.."

anser=${1:-${CARGO_TARGET_DIR:-target}/release/anser}
out=target/dist
version=$("$anser" --version | cut -d' ' -f2)
machine=$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# So that the same sources and the same compiler give the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
umask 022
mkdir -p "$out"

documents() { # FOLDER
    install -d "$1"
    install -m 0644 README.md CHANGELOG.md SECURITY.md LICENSE "$1"
    cp -r docs "$1"
}

tarball() {
    local name=anser-$version-$machine-linux
    local root=$work/$name
    install -D -m 0755 "$anser" "$root/anser"
    strip "$root/anser"
    documents "$root"
    cp -r deploy "$root"
    install -d "$root/completions"
    for shell in bash zsh fish; do
        "$anser" completions "$shell" >"$root/completions/anser.$shell"
    done
    tar --create --gzip --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" --file "$out/$name.tar.gz" --directory "$work" "$name"
    echo "$out/$name.tar.gz"
}

deb() {
    local architecture root=$work/deb libc
    architecture=$(dpkg --print-architecture)
    install -D -m 0755 "$anser" "$root/usr/bin/anser"
    strip "$root/usr/bin/anser"
    # The newest of glibc that the binary asks for is the oldest that will do.
    libc=$(objdump -T "$root/usr/bin/anser" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
    install -d "$root/lib/systemd/system"
    for unit in anser.service anser@.service; do
        sed 's|/usr/local/bin/anser|/usr/bin/anser|' "deploy/$unit" >"$root/lib/systemd/system/$unit"
    done
    documents "$root/usr/share/doc/anser"
    install -m 0644 LICENSE "$root/usr/share/doc/anser/copyright"
    cp -r deploy "$root/usr/share/doc/anser/examples"
    rm -r "$root/usr/share/doc/anser/examples/debian"
    install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
        "$root/usr/share/fish/vendor_completions.d"
    "$anser" completions bash >"$root/usr/share/bash-completion/completions/anser"
    "$anser" completions zsh >"$root/usr/share/zsh/vendor-completions/_anser"
    "$anser" completions fish >"$root/usr/share/fish/vendor_completions.d/anser.fish"
    install -d "$root/DEBIAN"
    install -m 0755 deploy/debian/postinst deploy/debian/prerm "$root/DEBIAN"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: anser
Version: $version
Architecture: $architecture
Maintainer: The Anser developers <anser@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= ${libc#GLIBC_}), adduser
Section: net
Priority: optional
Description: instant-messaging server that proves it loses nothing
 One binary holds the server, an embedded database, a chat client for the
 terminal and the tools to run it. People chat one to one on several devices
 each, with sent, delivered and read ticks, online or offline.
CONTROL
    dpkg-deb --build --root-owner-group "$root" "$out/anser_${version}_$architecture.deb" >/dev/null
    echo "$out/anser_${version}_$architecture.deb"
}

tarball
if command -v dpkg-deb >/dev/null; then deb; else echo "no .deb: there is no dpkg-deb here"; fi
(cd "$out" && sha256sum -- *"$version"* >SHA256SUMS)
echo "$out/SHA256SUMS"
