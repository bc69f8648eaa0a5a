#!/usr/bin/env bash
# Coverage-guided fuzzing: each target of fuzz/ for so many seconds (60 unless told), one after the
# other. New inputs go to fuzz/target/corpus, what crashes to fuzz/artifacts. Needs a nightly toolchain;
# says NOT RUN without one, since `make test` replays the corpus and seeded inputs on stable anyhow.
#
# ci/fuzz.sh [SECONDS]
# ci/fuzz.sh --shrink TARGET...: fuzz/corpus becomes its named inputs and the smallest others that reach
# what all found ones reach.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/anser/tools
fuzz_version=0.13.2
targets=(codec entry request rest_body session)
passed=0 failed=0 skipped=0

finish() {
    echo
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

not_run() { # REASON
    skipped=${#targets[@]}
    echo "== fuzzing NOT RUN: $1"
    finish
}

command -v rustup >/dev/null || not_run "there is no rustup to ask for a nightly toolchain"
nightly=$(rustup toolchain list | grep -o '^nightly[^ ]*' | head -1)
[ -n "$nightly" ] || not_run "no nightly toolchain is installed: rustup toolchain install nightly"
command -v c++ >/dev/null || not_run "no C++ compiler for libFuzzer; install the package g++"
export RUSTUP_TOOLCHAIN=$nightly
host=$(rustc -vV | sed -n 's/^host: //p')

if ! "$tools/bin/cargo-fuzz" --version 2>/dev/null | grep -qx "cargo-fuzz $fuzz_version"; then
    echo "== installing cargo-fuzz $fuzz_version"
    # By the stable compiler: nothing of it is instrumented.
    env -u RUSTUP_TOOLCHAIN $cargo install --quiet --locked --root "$tools" \
        --version "$fuzz_version" cargo-fuzz || not_run "cargo-fuzz does not install"
fi

echo "== building"
# The sanitizer finds nothing here (no unsafe code of ours), and costs half of the speed.
PATH=$tools/bin:$PATH $cargo fuzz build --sanitizer none || {
    failed=1
    finish
}
binaries=fuzz/target/$host/release

if [ "${1:-}" = --shrink ]; then
    for target in "${@:2}"; do
        # Inputs with a name stay; those that a fuzzer found are named by their hash.
        find "fuzz/corpus/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' \
            -exec mv -t "fuzz/target/corpus/$target" {} +
        # By edges, not by how often each is taken: a tenth of the bytes.
        "$binaries/$target" -merge=1 -use_counters=0 -max_len=512 "fuzz/corpus/$target" \
            "fuzz/target/corpus/$target" 2>&1 | grep MERGE-OUTER
    done
    exit
fi

seconds=${1:-60}
for target in "${targets[@]}"; do
    echo "== $target, $seconds seconds"
    mkdir -p "fuzz/target/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    "$binaries/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" \
        "fuzz/target/corpus/$target" "fuzz/corpus/$target" >"$log" 2>&1
    if [ $? -eq 0 ]; then
        passed=$((passed + 1))
        grep -E 'DONE|number_of_executed_units|average_exec_per_sec' "$log"
    else
        failed=$((failed + 1))
        tail -n 40 "$log"
        echo "== $target FAILED: keep the input as fuzz/corpus/$target/regression-NAME"
    fi
    rm -f "$log"
done
finish
