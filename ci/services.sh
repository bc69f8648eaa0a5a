# Sourced by the checks that need servers: starts private ones, with their own data and ports, and
# ends them when the script that sourced it ends. Those that are told by the environment are used
# as they are:
#
#   ANSER_TEST_MYSQL_URL   mysql://user:password@host:port, without a database; its user must be
#                          allowed to make and drop databases whose names begin with anser_test_

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

services=$(mktemp -d)
service_pids=()

end_services() {
    local pid
    for pid in "${service_pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for pid in "${service_pids[@]}"; do
        wait "$pid" 2>/dev/null
    done
    rm -rf "$services"
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
    if ! mariadb-install-db --no-defaults --user="$user" --datadir="$data" \
        --auth-root-authentication-method=normal --skip-test-db >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    mariadbd --no-defaults --user="$user" --datadir="$data" --socket="$services/mysql.sock" \
        --pid-file="$services/mysql.pid" --bind-address=127.0.0.1 --port="$port" \
        --innodb-flush-log-at-trx-commit=1 --log-bin="$data/binlog" --sync-binlog=1 \
        --binlog-format=ROW --max-connections=500 >>"$log" 2>&1 &
    service_pids+=($!)
    local tries
    for ((tries = 0; tries < 300; tries++)); do
        if mariadb-admin --no-defaults --protocol=tcp --host=127.0.0.1 --port="$port" \
            --user=root ping >/dev/null 2>&1; then
            export ANSER_TEST_MYSQL_URL=mysql://root@127.0.0.1:$port
            return
        fi
        kill -0 "${service_pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "== MariaDB does not start"
    cat "$log"
    return 1
}

start_services() {
    if [ -z "${ANSER_TEST_MYSQL_URL:-}" ]; then
        echo "== starting a private MariaDB"
        start_mariadb || return 1
    fi
}
