#!/usr/bin/env bash
# The full torture: many seeds with every fault. Each must be clean, all together must have hit each
# kind of fault often enough. On success the table in docs/guarantees.md is written anew from the
# reports. Takes about 80 s a seed. Wants root, and an idle machine.
# Usage: ci/torture.sh [--cluster] [SEEDS] [SECONDS] [FIRST SEED]
#   --cluster   torture a cluster instead of one process: 10 seeds of 120 s by default, which start
#               their own MariaDB, RabbitMQ and Redis; what is missing is installed where it may be
set -uo pipefail
cd "$(dirname "$0")/.."

anser=${CARGO_TARGET_DIR:-target}/release/anser
layout=() table=torture
# Only for what installs what is missing.
services=none
. ci/services.sh
need faketime faketime
if [ "${1:-}" = --cluster ]; then
    shift
    layout=(--cluster) table=torture-cluster
    set -- "${1:-10}" "${2:-120}" "${3:-1}"
    need mariadbd mariadb-server
    need redis-server redis-server
    need_file /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
    need nft nftables
fi
seeds=${1:-20} seconds=${2:-60} first=${3:-1}
reports=$(mktemp -d)
failed=0

for seed in $(seq "$first" $((first + seeds - 1))); do
    if "$anser" torture "${layout[@]}" --seed "$seed" --seconds "$seconds" --report "$reports/$seed.json" \
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
ci/torture_table.py docs/guarantees.md "$table" "$reports"/*.json
rm -r "$reports"
