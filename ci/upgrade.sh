#!/usr/bin/env bash
# A rolling upgrade over a migration, with the older program and this one side by side: a cluster of
# the older one gets load, then its nodes are replaced one by one, in the order of docs/cluster.md.
# Every message that was sent must arrive once and in order, every file whole, no node of the older
# program may end, and the tables must have the new version. MariaDB, RabbitMQ and Redis are private.
#
#   ci/upgrade.sh [OLD]    OLD is a commit; default: the last one with a migration less
#
# ANSER_OLD names a binary instead, ANSER that of this tree (default: target/release/anser).
set -uo pipefail
cd "$(dirname "$0")/.."
umask 077

migrations=crates/store/src/mysql/migrations
folder=$(mktemp -d)
services=$folder/services
mkdir "$services" "$folder/people"
unset ANSER_TEST_MYSQL_URL ANSER_TEST_AMQP_URL ANSER_TEST_REDIS_URL
. ci/services.sh
. ci/nodes.sh
client_pids=() worktree=
declare -A sender_pids ops_port
# Who talks to whom, and how many messages more must come through after each step.
declare -A sender_of=([bob]=alice [dave]=carol)
MORE=25

stop() {
    local status=$? pid
    trap - EXIT
    touch "$folder/enough"
    for pid in "${client_pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    stop_nodes
    end_services
    [ -z "$worktree" ] || git worktree remove --force "$worktree"
    if [ "$status" -eq 0 ]; then
        rm -r "$folder"
    else
        echo "== FAILED; logs and what was received: $folder"
    fi
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

fail() { # WHY
    echo "== $1"
    exit 1
}

files_in() { # COMMIT
    git ls-tree --name-only "$1" "$migrations/" | wc -l
}

# The last commit with a migration less than this tree has.
older() {
    local want commit
    want=$(($(find "$migrations" -name '*.sql' | wc -l) - 1))
    for commit in $(git rev-list HEAD); do
        [ "$(files_in "$commit")" -eq "$want" ] && echo "$commit" && return
    done
}

# Into the folder of builds that are kept, so that a second run is short.
build_old() { # COMMIT
    worktree=$folder/old
    echo "== building $(git log -1 --format='%h %s' "$1")"
    git worktree add --quiet --detach "$worktree" "$1" || exit 1
    CARGO_TARGET_DIR=$PWD/target/upgrade ${CARGO:-cargo} build --release --locked --quiet \
        --manifest-path "$worktree/Cargo.toml" -p anser || exit 1
    old=$PWD/target/upgrade/release/anser
}

new=${ANSER:-$PWD/target/release/anser}
old=${ANSER_OLD:-}
if [ -z "$old" ]; then
    commit=${1:-$(older)}
    [ -n "$commit" ] || fail "no commit has a migration less; name one"
    build_old "$commit"
fi

sql() { # STATEMENT
    mariadb --no-defaults --socket="$services/mysql.sock" --user=root --batch --skip-column-names \
        anser --execute "$1"
}

version() {
    sql "SELECT MAX(version) FROM im_migration"
}

serve() { # BINARY NAME
    local port=${ops_port[$2]:=$(free_port)}
    local common=(--ops-listen "127.0.0.1:$port")
    case $2 in
    transfer-*) start_node "$1" "$2" transfer "${common[@]}" ;;
    api-1) start_node "$1" "$2" api --api-listen "127.0.0.1:$api_1" "${common[@]}" ;;
    api-2) start_node "$1" "$2" api --api-listen "127.0.0.1:$api_2" "${common[@]}" ;;
    connector-1) start_node "$1" "$2" connector --connector-listen "127.0.0.1:$connector_1" \
        --link-listen "127.0.0.1:$link_1" "${common[@]}" ;;
    connector-2) start_node "$1" "$2" connector --connector-listen "127.0.0.1:$connector_2" \
        --link-listen "127.0.0.1:$link_2" "${common[@]}" ;;
    esac
}

# Each node lives and says that it can serve, the older ones too.
all_ready() { # STEP
    local name
    for name in "${node_names[@]}"; do
        kill -0 "${node_pids[$name]}" 2>/dev/null || fail "$1: $name ended: $(tail -n 3 "$folder/logs/$name.log")"
        curl --silent --show-error --fail --retry 10 --retry-delay 1 --retry-all-errors \
            "http://127.0.0.1:${ops_port[$name]}/readyz" >/dev/null || fail "$1: $name is not ready"
    done
}

person() { # NAME
    echo "a long password" | "$old" user add "$1" --password-stdin --data-dir "$folder/api-1" >/dev/null ||
        fail "$1 is not made"
    mkdir "$folder/people/$1"
}

product() { # METHOD PATH [BODY]
    curl --silent --show-error --fail --request "$1" "http://127.0.0.1:$api_1$2" \
        --header "Authorization: Bearer $(cat "$folder"/secrets/server-api.key)" \
        --header 'Content-Type: application/json' ${3:+--data "$3"}
}

id_of() { # NAME
    product GET "/v1/server/users?name=$1" | jq --raw-output .id
}

befriend() { # NAME NAME
    product PUT /v1/server/relations "{\"users\":[\"$(id_of "$1")\",\"$(id_of "$2")\"]}" >/dev/null ||
        fail "$1 and $2 are no friends"
}

as() { # BINARY COMMAND NAME PORT OPTIONS...
    local binary=$1 command=$2 name=$3 port=$4
    shift 4
    ${run:-} env ANSER_PASSWORD="a long password" "$binary" "$command" --user "$name" \
        --server "http://127.0.0.1:$port" --state-dir "$folder/people/$name" "$@"
}

listen() { # BINARY NAME PORT OPTIONS...
    local binary=$1 name=$2 port=$3 tries
    shift 3
    # In place of the shell in the background, so that its pid is the client's.
    run=exec as "$binary" tail "$name" "$port" --json "$@" >"$folder/people/$name/heard" \
        2>"$folder/people/$name/log" &
    client_pids+=($!)
    for ((tries = 0; tries < 300; tries++)); do
        grep -qs '"caught_up"' "$folder/people/$name/heard" && return
        sleep 0.1
    done
    cat "$folder/people/$name/log"
    fail "$name hears nothing"
}

# Numbers, one after the other, until it is enough.
talk() { # BINARY NAME TO PORT
    local at=$folder/people/$2 n
    for ((n = 1; ; n++)); do
        [ -e "$folder/enough" ] && break
        echo "$n"
        sleep 0.02
    done | tee "$at/said" | run=exec as "$1" send "$2" "$4" --to "$3" --lines --timeout 120s >"$at/sent" 2>"$at/log" &
    sender_pids[$2]=$!
}

# What somebody heard: the number in the conversation, and the text.
heard() { # NAME
    jq --raw-output 'select(.event == "message" and .text != null) | "\(.conv_seq) \(.text)"' \
        <"$folder/people/$1/heard" 2>/dev/null
}

# Messages still get to everybody: so many more than there are now.
flows() { # STEP
    local name before tries
    for name in bob dave; do
        kill -0 "${sender_pids[${sender_of[$name]}]}" 2>/dev/null ||
            fail "$1: ${sender_of[$name]} ended: $(cat "$folder/people/${sender_of[$name]}/log")"
        before=$(heard $name | wc -l)
        for ((tries = 0; tries < 600; tries++)); do
            [ "$(heard $name | wc -l)" -ge $((before + MORE)) ] && continue 2
            sleep 0.1
        done
        fail "$1: $name hears nothing for a minute"
    done
    echo "   $1: $(heard bob | wc -l) and $(heard dave | wc -l) messages"
}
files=0
send_file() { # BINARY
    files=$((files + 1))
    head -c 300000 /dev/urandom >"$folder/people/erin/$files"
    as "$1" send erin "$api_2" --to frank --file "$folder/people/erin/$files" >/dev/null ||
        fail "file $files is not sent"
}

is_all_there() { # NAME: that what was said to them is what they heard
    local at=$folder/people/$1 said=$folder/people/${sender_of[$1]}/said tries
    for ((tries = 0; tries < 600; tries++)); do
        [ "$(heard "$1" | wc -l)" -ge "$(wc -l <"$said")" ] && break
        sleep 0.1
    done
    sed 's/.*/& &/' "$said" >"$at/expected"
    heard "$1" >"$at/got"
    diff "$at/expected" "$at/got" >"$at/differs" && return
    head -n 10 "$at/differs"
    fail "what $1 heard is not what ${sender_of[$1]} said, $(wc -l <"$said") messages"
}

need curl curl
need jq jq
start_services || exit 1
prepare_nodes "$old" || exit 1
api_1=$(free_port) api_2=$(free_port) connector_1=$(free_port) connector_2=$(free_port)
link_1=$(free_port) link_2=$(free_port)

echo "== a cluster of $("$old" --version) at $old"
nodes=(transfer-1 transfer-2 api-1 api-2 connector-1 connector-2)
for name in "${nodes[@]}"; do
    serve "$old" $name || exit 1
done
from=$(version)
to=$(find "$migrations" -name '*.sql' | wc -l)
[ "$from" -lt "$to" ] || fail "its tables have version $from already: this is no upgrade"

for name in alice bob carol dave erin frank; do
    person $name
done
befriend alice bob
befriend carol dave
befriend erin frank
# Clients of both versions, each kind as sender and as receiver.
listen "$new" bob "$api_2"
listen "$old" dave "$api_1"
mkdir "$folder/people/frank/saved"
listen "$new" frank "$api_2" --save "$folder/people/frank/saved"
talk "$old" alice bob "$api_1"
talk "$new" carol dave "$api_2"
flows "version $from, all nodes old"
send_file "$old"

for name in "${nodes[@]}"; do
    stop_node $name
    serve "$new" $name || exit 1
    [ "$(version)" -eq "$to" ] || fail "$name is new and the tables have version $(version)"
    all_ready "$name is new"
    flows "$name is new"
    send_file "$old"
    [ $name = transfer-1 ] || continue
    # One of the older nodes dies in the middle and comes back. Programs of version 1 can not.
    kill -9 "${node_pids[transfer-2]}"
    wait "${node_pids[transfer-2]}" 2>/dev/null
    if serve "$old" transfer-2; then
        flows "transfer-2 is old and came back"
    else
        [ "$from" -eq 1 ] || fail "the older program does not come back on the newer tables"
        flows "transfer-2 is away: programs of version 1 do not know that they may come back"
    fi
done

touch "$folder/enough"
for name in "${!sender_pids[@]}"; do
    wait "${sender_pids[$name]}" || fail "$name could not send all: $(cat "$folder/people/$name/log")"
done
is_all_there bob
is_all_there dave
for ((n = 1; n <= files; n++)); do
    for ((tries = 0; tries < 300; tries++)); do
        cmp --silent "$folder/people/erin/$n" "$folder"/people/frank/saved/*-"$n" && continue 2
        sleep 0.1
    done
    fail "file $n did not arrive"
done
echo "== from version $from to $to: $(wc -l <"$folder/people/bob/got") and" \
    "$(wc -l <"$folder/people/dave/got") messages, each once and in order, $files files, no node ended"
