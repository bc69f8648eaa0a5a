#!/usr/bin/env bash
# Measures the figures of one process in docs/benchmarks.md: three runs each, the median of each
# figure. Not those of a cluster, nor `bench store --store mysql://`: their commands are on that page.
# Wants an idle machine. Usage: ci/bench.sh [SECONDS] [DIR on a real disk]
set -euo pipefail
cd "$(dirname "$0")/.."

anser=${CARGO_TARGET_DIR:-target}/release/anser
seconds=${1:-10}
dir=${2:-.}
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

# A report as lines "key value", percentiles as "key.p50 value".
flat() {
    sed -nE 's/^([a-z_]+) +(-?[0-9.]+)$/\1 \2/p' "$1"
    sed -nE 's/^([a-z_]+) +\{"p50":([0-9.]+),"p99":([0-9.]+),"p999":([0-9.]+)\}$/\1.p50 \2\n\1.p99 \3\n\1.p999 \4/p' "$1"
}

line() { # ARGUMENTS of anser bench
    echo
    echo "### anser bench $*"
    for run in 1 2 3; do
        sync
        "$anser" bench "$@" --dir "$dir" >"$runs/$run" || echo "failed: exit status $?"
        flat "$runs/$run" | sort >"$runs/$run.flat"
    done
    join "$runs/1.flat" "$runs/2.flat" | join - "$runs/3.flat" | while read -r key a b c; do
        median=$(printf '%s\n' "$a" "$b" "$c" | sort -g | sed -n 2p)
        printf '%-32s %14s   (%s, %s, %s)\n' "$key" "$median" "$a" "$b" "$c"
    done
}

"$anser" --version
uname -sr
line send --pairs 100 --window 32 --seconds "$seconds" --with-store
line send --pairs 100 --window 1 --seconds "$seconds"
line send --pairs 5000 --window 1 --seconds "$seconds"
line send --pairs 100 --rate 1000 --beside-files --seconds "$seconds"
line send --pairs 100 --window 32 --seconds "$seconds" --transport ws
line file
line store --batch 256 --seconds "$seconds"
line connect --connections 10000 --transport tcp
line connect --connections 10000 --transport ws
