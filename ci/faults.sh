#!/usr/bin/env bash
# Proves that the promise tests can fail: each fault of ci/faults.tsv is planted in turn, and the test
# that guards against it must turn red. First all of these tests must be green without a fault.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
# Seconds that one test may take. They give up waiting after 30 s by themselves.
limit=120
log=$(mktemp)
. ci/services.sh
trap 'rm -f "$log"; end_services' EXIT
passed=0 failed=0

# A test that needs a tool must not pass because the tool is missing.
export ANSER_TEST_ALL=1 RUST_BACKTRACE=0
unset ANSER_FAULT

start_services || exit 1

declare -A binary
build() { # PACKAGE CARGO-ARGUMENTS...
    local package=$1
    shift
    echo "== building the tests of $package"
    if ! $cargo test --locked -p "$package" --features faults "$@" --no-run 2>"$log"; then
        cat "$log"
        exit 1
    fi
    binary[$package]=$(realpath "$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$log" | head -1)")
}

run() { # PACKAGE TEST; gives 0 green, 1 red, 2 anything else
    timeout --kill-after=5 $limit "${binary[$1]}" "$2" >"$log" 2>&1 </dev/null
    local status=$?
    case $(grep -c '^test result:' "$log"),$status in
    1,0) grep -q '^test result: ok. [1-9]' "$log" && return 0 ;;
    1,101) return 1 ;;
    esac
    return 2
}

row() { # FAULT TEST RESULT
    printf '%-22s %-10s %s\n' "$1" "$3" "$2"
}

build anser --test it
build anser-store --lib

echo "== without a fault every test is green"
while IFS=$'\t' read -r fault package test _; do
    run "$package" "$test"
    if [ $? -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        row "$fault" "$test" "NOT GREEN"
        tail -n 30 "$log"
    fi
done < <(grep -v '^#' ci/faults.tsv)

echo "== with its fault each of them is red"
while IFS=$'\t' read -r fault package test _; do
    ANSER_FAULT=$fault run "$package" "$test"
    case $? in
    1)
        passed=$((passed + 1))
        row "$fault" "$test" red
        ;;
    0)
        failed=$((failed + 1))
        row "$fault" "$test" "STAYS GREEN"
        ;;
    *)
        failed=$((failed + 1))
        row "$fault" "$test" "NO VERDICT"
        tail -n 30 "$log"
        ;;
    esac
done < <(grep -v '^#' ci/faults.tsv)

# A checker that never failed proves nothing: each check of `anser torture` has a planted fault that
# must turn it red. A short run may miss the moment in which its fault shows, so a few seeds are tried.
echo "== with its fault each check of the torture is red"
built=$($cargo build --locked -p anser --features faults --message-format short 2>&1) || {
    echo "$built"
    exit 1
}
anser=${CARGO_TARGET_DIR:-target}/debug/anser
report=$(mktemp)

torture() { # FAULT CHECK FAULTS SEED; gives 0 when that check is red
    rm -f "$report"
    ANSER_FAULT=$1 timeout --kill-after=5 $limit "$anser" torture --seed "$4" --seconds 10 \
        --users 3 --devices 2 --faults "$3" --report "$report" >"$log" 2>&1 </dev/null
    [ $? -eq 1 ] && grep -A3 "\"$2\": {" "$report" | grep -q '"holds": false'
}

while IFS=$'\t' read -r fault check faults _; do
    result="STAYS GREEN"
    for seed in 1 2 3 4 5; do
        if torture "$fault" "$check" "$faults" $seed; then
            result=red
            break
        fi
    done
    row "$fault" "torture $check, seed $seed" "$result"
    if [ "$result" = red ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        tail -n 30 "$log"
    fi
done < <(grep -v '^#' ci/torture.tsv)
rm -f "$report"

echo
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
