#!/usr/bin/env bash
# The full torture: many seeds with every fault. Each must be clean, all together must have hit each
# kind of fault often enough. On success the table in docs/guarantees.md is written anew from the
# reports. Takes about 80 s a seed. Wants root, and an idle machine.
# Usage: ci/torture.sh [SEEDS] [SECONDS] [FIRST SEED]
set -uo pipefail
cd "$(dirname "$0")/.."

anser=${CARGO_TARGET_DIR:-target}/release/anser
seeds=${1:-20} seconds=${2:-60} first=${3:-1}
reports=$(mktemp -d)
failed=0

for seed in $(seq "$first" $((first + seeds - 1))); do
    if "$anser" torture --seed "$seed" --seconds "$seconds" --report "$reports/$seed.json" \
        >"$reports/$seed.log" 2>&1; then
        echo "seed $seed: clean"
    else
        failed=$((failed + 1))
        echo "seed $seed: $(tail -n 1 "$reports/$seed.log"); see $reports/$seed.log"
    fi
done
if [ "$failed" -gt 0 ]; then
    echo "$failed of $seeds seeds failed"
    exit 1
fi
ci/torture_table.py docs/guarantees.md "$reports"/*.json
rm -r "$reports"
