#!/usr/bin/env bash
# A whole cluster on this machine: two connectors, two transfers and two apis over a MariaDB, a
# RabbitMQ and a Redis of its own, all in one folder, on ports of 127.0.0.1. It runs until Ctrl-C
# and goes on with its data at the next start.
#
#   ci/cluster.sh [FOLDER]     default: data/cluster
set -uo pipefail
cd "$(dirname "$0")/.."

# What is written here holds keys and what people say.
umask 077

folder=$(realpath -m "${1:-data/cluster}")
anser=${ANSER:-$PWD/target/release/anser}
services=$folder/services
mkdir -p "$services"
# Another one is never used: what is in it would be served.
unset ANSER_TEST_MYSQL_URL ANSER_TEST_AMQP_URL ANSER_TEST_REDIS_URL
. ci/services.sh
. ci/nodes.sh

stop() {
    trap - EXIT
    echo "== stopping"
    stop_nodes
    end_services
}
trap stop EXIT
trap 'exit 130' INT TERM

node() { # NAME ROLE OPTIONS...
    start_node "$anser" "$@" || exit 1
}

start_services || exit 1
prepare_nodes "$anser" || exit 1
node transfer-1 transfer --ops-listen 127.0.0.1:7404
node transfer-2 transfer --ops-listen 127.0.0.1:7405
node connector-1 connector --connector-listen 127.0.0.1:7400 --link-listen 127.0.0.1:7403 \
    --ops-listen 127.0.0.1:7406
node connector-2 connector --connector-listen 127.0.0.1:7410 --link-listen 127.0.0.1:7413 \
    --ops-listen 127.0.0.1:7407
node api-1 api --api-listen 127.0.0.1:7401 --ops-listen 127.0.0.1:7408
node api-2 api --api-listen 127.0.0.1:7411 --ops-listen 127.0.0.1:7409

cat <<TEXT

Two connectors, two transfers and two apis run in $folder:
    store     $ANSER_STORE__URL
    queue     $ANSER_QUEUE__URL
    presence  $ANSER_PRESENCE__URL
    logs      $folder/logs

Chat in two other terminals, each by another api:
    $anser chat --user alice
    $anser chat --user bob --server http://127.0.0.1:7411
Look at the nodes, and take one away:
    ANSER_PRESENCE__URL=$ANSER_PRESENCE__URL $anser node list --data-dir $folder
    kill ${node_pids[transfer-1]}   (transfer-1)
REST documentation: http://127.0.0.1:7401/docs
Ctrl-C stops all of it; the data stays.
TEXT
wait
