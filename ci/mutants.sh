#!/usr/bin/env bash
# Mutation tests of the code that keeps the promises: it is broken in every way that cargo-mutants
# knows, and the crate's own tests must notice. A mutant that survives must be explained in
# docs/mutants.md, or this fails. Takes about an hour; works on a copy of the tree.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/anser/tools
version=27.1.0
out=$PWD/target/mutants
failed=0

# Nothing but the mutant is broken, and temporary stores need no real disk.
unset ANSER_FAULT
[ -d /dev/shm ] && export TMPDIR=/dev/shm
export CARGO_INCREMENTAL=1 CARGO_TARGET_DIR=$out/target

known=$("$tools/bin/cargo-mutants" mutants --version 2>/dev/null)
if [ "$known" != "cargo-mutants $version" ]; then
    echo "== installing cargo-mutants $version"
    $cargo install --quiet --locked --root "$tools" --version "$version" cargo-mutants || exit 1
fi

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"

mutants() { # NAME PACKAGE FILES TARGETS TEST-ARGUMENTS...
    local name=$1 package=$2 arguments=() one
    # Patterns are for cargo-mutants.
    set -f
    for one in $3; do arguments+=(--file "crates/$package/src/$one"); done
    for one in --locked $4; do arguments+=("--cargo-arg=$one"); done
    set +f
    shift 4
    echo "== $name"
    rm -rf "${out:?}/$name"
    mkdir -p "$out/$name"
    "$tools/bin/cargo-mutants" mutants --in-place --dir "$tree" --package "anser-$package" \
        "${arguments[@]}" --no-shuffle --timeout 60 --output "$out/$name" -- -- "$@"
    # 2 and 3: some survived, or never ended. Anything else is no result.
    case $? in 0 | 2 | 3) ;; *) failed=1 ;; esac
}

# The sum of frame.rs in docs/protocol.md would catch everything, and prove nothing.
mutants frame proto "frame.rs" "--lib --test=it" --skip protocol_md_was_read_again
mutants session proto "session.rs session/*.rs" "--lib --test=it"
# Left out is what tests no batches and takes long: kill -9 in a loop, and broken journals.
mutants apply store "apply.rs apply/*.rs" --lib --skip kill:: --skip tail::
mutants writer store "embedded/hot.rs embedded/writer.rs embedded/cache.rs" \
    --lib --skip kill:: --skip tail::

echo
for name in frame session apply writer; do
    printf '%-8s' "$name"
    for kind in caught missed timeout unviable; do
        printf '  %s %s' "$(wc -l <"$out/$name/mutants.out/$kind.txt")" "$kind"
    done
    echo
    # Without line and column, which move; so many of one name as are explained.
    while read -r count mutant; do
        [ "$count" -le "$(grep -cF "$mutant" docs/mutants.md)" ] && continue
        echo "  not explained: $mutant"
        failed=1
    done < <(sed -E 's/:[0-9]+:[0-9]+: /: /' "$out/$name/mutants.out/missed.txt" | sort | uniq -c)
done
[ "$failed" -eq 0 ]
