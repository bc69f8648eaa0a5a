# Sourced by the scripts that run a whole cluster on this machine: starts nodes and ends them. Their
# data, logs and the secrets that they share are in `folder`; the services are those of services.sh.

node_names=()
declare -A node_pids=()

# The database, the secrets of the cluster, and what all nodes are told.
prepare_nodes() { # BINARY
    mkdir -p "$folder/logs"
    mariadb-admin --no-defaults --socket="$services/mysql.sock" --user=root create anser 2>/dev/null
    [ -e "$folder/secrets/cluster.key" ] || "$1" init --cluster --data-dir "$folder" >/dev/null || return 1
    export ANSER_STORE__URL=$ANSER_TEST_MYSQL_URL/anser
    export ANSER_QUEUE__URL=$ANSER_TEST_AMQP_URL
    export ANSER_PRESENCE__URL=$ANSER_TEST_REDIS_URL
    export ANSER_FILES__SHARED=true ANSER_FILES__PATH=$folder/files
}

# Starts one and waits until it is ready.
start_node() { # BINARY NAME ROLE OPTIONS...
    local binary=$1 name=$2 role=$3 data=$folder/$2 out=$folder/logs/$2.out log=$folder/logs/$2.log
    shift 3
    mkdir -p "$data"
    cp -rn "$folder/secrets" "$data/"
    : >"$out"
    ANSER_NODE__NAME=$name "$binary" serve --data-dir "$data" --roles "$role" "$@" >>"$out" 2>>"$log" &
    local pid=$! tries
    [ -n "${node_pids[$name]:-}" ] || node_names=("$name" "${node_names[@]}")
    node_pids[$name]=$pid
    for ((tries = 0; tries < 300; tries++)); do
        grep -qsx ready "$out" && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    echo "== $name does not start"
    tail -n 5 "$log"
    return 1
}

stop_node() { # NAME
    local pid=${node_pids[$1]}
    kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
}

# Who hands over stops before who takes.
stop_nodes() {
    local name
    for name in "${node_names[@]}"; do
        stop_node "$name"
    done
}
