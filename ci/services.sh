# Sourced by the checks that need servers: starts private ones, with their own data and ports, and
# ends them when the script that sourced it ends. Those that are told by the environment are used
# as they are:
#
#   ANSER_TEST_MYSQL_URL   mysql://user:password@host:port, without a database; its user must be
#                          allowed to make and drop databases whose names begin with anser_test_
#   ANSER_TEST_AMQP_URL    amqp://user:password@host:port/vhost
#   ANSER_TEST_REDIS_URL   redis://user:password@host:port/database
#
# `services` is the folder of their data; one that was there before is kept.

install() { # PACKAGE
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "== installing $1"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null
    fi
}

need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    install "$2"
    command -v "$1" >/dev/null && return
    echo "== $1 is missing; install the package $2"
    exit 1
}

need_file() { # FILE PACKAGE
    [ -e "$1" ] && return
    install "$2"
    [ -e "$1" ] && return
    echo "== $1 is missing; install the package $2"
    exit 1
}

if [ -z "${services:-}" ]; then
    services=$(mktemp -d)
    services_made=1
fi
service_pids=()
epmd_port=

end_services() {
    local pid
    for pid in "${service_pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for pid in "${service_pids[@]}"; do
        wait "$pid" 2>/dev/null
    done
    if [ -n "$epmd_port" ]; then
        epmd -port "$epmd_port" -kill >/dev/null 2>&1
    fi
    if [ -n "${services_made:-}" ]; then
        rm -rf "$services"
    fi
}

# Until a command succeeds, for at most a minute, while the last service that was started lives.
await() { # NAME LOG COMMAND...
    local name=$1 log=$2 tries
    shift 2
    for ((tries = 0; tries < 600; tries++)); do
        "$@" >/dev/null 2>&1 && return
        kill -0 "${service_pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "== $name does not start"
    cat "$log"
    return 1
}

free_port() {
    local port
    while port=$((RANDOM % 20000 + 20000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# The settings are those that Anser asks for: what is answered is on the disk, in log and binary log.
start_mariadb() {
    need mariadbd mariadb-server
    local data=$services/mysql port log=$services/mysql.log user
    port=$(free_port)
    user=$(id -un)
    mkdir -p "$data"
    if ! [ -d "$data/mysql" ] && ! mariadb-install-db --no-defaults --user="$user" \
        --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    mariadbd --no-defaults --user="$user" --datadir="$data" --socket="$services/mysql.sock" \
        --pid-file="$services/mysql.pid" --bind-address=127.0.0.1 --port="$port" \
        --innodb-flush-log-at-trx-commit=1 --log-bin="$data/binlog" --sync-binlog=1 \
        --binlog-format=ROW --max-connections=500 >>"$log" 2>&1 &
    service_pids+=($!)
    await MariaDB "$log" mariadb-admin --no-defaults --protocol=tcp --host=127.0.0.1 \
        --port="$port" --user=root ping || return 1
    export ANSER_TEST_MYSQL_URL=mysql://root@127.0.0.1:$port
}

start_redis() {
    need redis-server redis-server
    local port log=$services/redis.log
    port=$(free_port)
    redis-server --bind 127.0.0.1 --port "$port" --save "" --appendonly no --dir "$services" \
        >"$log" 2>&1 &
    service_pids+=($!)
    await Redis "$log" redis-cli -p "$port" ping || return 1
    export ANSER_TEST_REDIS_URL=redis://127.0.0.1:$port/
}

# Not by the package's own script, which changes the user and the folder. Its port mapper is another
# process, and private too.
start_rabbitmq() {
    need_file /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
    local port data=$services/rabbitmq log=$services/rabbitmq.log
    port=$(free_port)
    epmd_port=$(free_port)
    mkdir -p "$data"
    : >"$data/none"
    echo "[]." >"$data/advanced"
    env HOME="$data" ERL_CRASH_DUMP="$data/crash" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=anser@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_NODE_PORT="$port" RABBITMQ_DIST_PORT="$(free_port)" \
        RABBITMQ_MNESIA_BASE="$data" RABBITMQ_LOG_BASE="$data" RABBITMQ_LOGS=- \
        RABBITMQ_ENABLED_PLUGINS_FILE="$data/none" RABBITMQ_CONF_ENV_FILE="$data/none" \
        RABBITMQ_CONFIG_FILE="$data/none" RABBITMQ_ADVANCED_CONFIG_FILE="$data/advanced" \
        RABBITMQ_PID_FILE="$data/pid" \
        /usr/lib/rabbitmq/bin/rabbitmq-server >"$log" 2>&1 &
    service_pids+=($!)
    await RabbitMQ "$log" grep -q "Server startup complete" "$log" || return 1
    export ANSER_TEST_AMQP_URL=amqp://guest:guest@127.0.0.1:$port/%2f
}

start_services() {
    if [ -z "${ANSER_TEST_MYSQL_URL:-}" ]; then
        echo "== starting a private MariaDB"
        start_mariadb || return 1
    fi
    if [ -z "${ANSER_TEST_REDIS_URL:-}" ]; then
        echo "== starting a private Redis"
        start_redis || return 1
    fi
    if [ -z "${ANSER_TEST_AMQP_URL:-}" ]; then
        echo "== starting a private RabbitMQ"
        start_rabbitmq || return 1
    fi
}
