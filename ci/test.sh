#!/usr/bin/env bash
# Every check of the repository. Installs what it needs (Debian, root), or says what to install.
# Ends with a plain count; the exit status is 0 only when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/anser/tools
deny_version=0.20.2
log=$(mktemp)
. ci/services.sh
trap 'rm -f "$log"; end_services' EXIT
passed=0 failed=0 skipped=0

# Tests that need a tool fail without it here; `cargo test` alone lists them as left out.
export ANSER_TEST_ALL=1
# Nothing but the tests decides what is broken.
unset ANSER_FAULT

check() { # NAME COMMAND...
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "== $name FAILED"
    fi
}

# A step whose output tells how many tests passed, failed and were ignored.
tests() { # NAME COMMAND...
    local name=$1
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]}
    local count
    count=$(awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p+0, f+0, i+0 }' "$log")
    read -r p f i <<<"$count"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + i))
    # A crate that does not compile, or a process that died, counts no failed test.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        failed=$((failed + 1))
    fi
    if [ "$p" -eq 0 ]; then
        echo "== $name ran no test"
        failed=$((failed + 1))
    fi
}

need cc build-essential
need strace strace
# What `anser torture` breaks things with.
need mkfs.ext4 e2fsprogs
need ss iproute2
need faketime faketime
need nft nftables
# Also where the services of the tests run elsewhere: a test starts one with certificates.
need mariadbd mariadb-server
# The proxies of deploy/, which a test starts.
need haproxy haproxy
need nginx nginx-light
need_file /usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
if ! "$tools/bin/cargo-deny" --version 2>/dev/null | grep -qx "cargo-deny $deny_version"; then
    echo "== installing cargo-deny $deny_version"
    $cargo install --quiet --locked --root "$tools" --version "$deny_version" cargo-deny || exit 1
fi

start_services || exit 1

check "format" $cargo fmt --all --check
check "clippy" $cargo clippy --locked --workspace --all-targets -- -D warnings
check "clippy, with faults" \
    $cargo clippy --locked --workspace --all-targets --features anser/faults -- -D warnings
check "build" $cargo build --locked -p anser
tests "tests" $cargo test --locked --workspace --no-fail-fast
# Left out, and said so, are the few that look into the folder of the embedded database.
tests "promises, with the data on MySQL" env ANSER_TEST_LAYOUT=mysql \
    $cargo test --locked -p anser --test it --no-fail-fast -- promises connections hostile
# And in three roles, over RabbitMQ and Redis too.
tests "promises, in a cluster" env ANSER_TEST_LAYOUT=cluster \
    $cargo test --locked -p anser --test it --no-fail-fast -- promises connections hostile
check "documentation" env RUSTDOCFLAGS="-D warnings" $cargo doc --locked --workspace --no-deps
check "licences, bans, sources" "$tools/bin/cargo-deny" --locked check bans licenses sources

echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
