#!/usr/bin/env bash
# A server of its own whose files are in the S3-compatible store at ENDPOINT: tus uploads, one that goes
# on after kill -9 of the server, ranges, an object that is lost, and the key in no log.
# Prints what was done.
#
# s3.sh FOLDER PATH-OF-TUS-JS-CLIENT, with ANSER and ENDPOINT.
set -euo pipefail

work=$1 tus=$2
here=$(dirname "$0")
data=$work/data-s3
server=
trap '[ -z "$server" ] || kill "$server"' EXIT
export ANSER_FILES__STORE=s3://anser-files/some/prefix ANSER_FILES__S3_ENDPOINT=$ENDPOINT
export ANSER_FILES__S3_ACCESS_KEY_ID=anser ANSER_FILES__S3_SECRET_ACCESS_KEY=hush-hush
export ANSER_LOG__LEVEL=debug

start() {
    "$ANSER" serve --data-dir "$data" --connector-listen 127.0.0.1:0 --api-listen 127.0.0.1:0 \
        --ops-listen 127.0.0.1:0 >"$work/s3-said" 2>>"$work/s3-server.log" &
    server=$!
    for _ in $(seq 300); do
        grep -qx ready "$work/s3-said" && break
        kill -0 $server
        sleep 0.1
    done
    api=$(sed -n 's/^api //p' "$work/s3-said")
}

say() {
    echo "$*" >&2
}

start
say "tus uploads"
ANSER_API_URL=$api ANSER_SERVER_KEY=$(<"$data/secrets/server-api.key") node "$here/tus.mjs" "$tus" >&2
[ ! -e "$data/files" ] || { say "there is a folder of files" && exit 1; }

say "accounts"
ask() { # METHOD PATH TOKEN-OR-NOTHING BODY
    curl -sf -X "$1" -H "authorization: Bearer $3" -H 'content-type: application/json' -d "$4" "$api$2"
}
field() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
key=$(<"$data/secrets/server-api.key")
alice=$(ask POST /v1/server/users "$key" '{"name":"s3-alice"}' | field id)
bob=$(ask POST /v1/server/users "$key" '{"name":"s3-bob"}' | field id)
chat=$(ask PUT /v1/server/relations "$key" "{\"users\":[\"$alice\",\"$bob\"]}" | field conversation)
token=$(ask POST "/v1/server/users/$alice/sessions" "$key" '{"device_name":"s3"}' | field token)

head -c 20000001 /dev/urandom >"$work/s3-bytes"
add() { # OFFSET, from standard input
    curl -sf -X PATCH -H "authorization: Bearer $token" -H 'tus-resumable: 1.0.0' -T - \
        -H 'content-type: application/offset+octet-stream' -H "upload-offset: $1" "$api$path"
}
offset() {
    curl -sf -I -H "authorization: Bearer $token" -H 'tus-resumable: 1.0.0' "$api$path" |
        tr -d '\r' | sed -n 's/^upload-offset: //ip'
}
path=$(curl -sf -i -X POST -H "authorization: Bearer $token" -H 'tus-resumable: 1.0.0' \
    -H 'upload-length: 20000001' "$api/v1/files?conversation=$chat" | tr -d '\r' |
    sed -n 's/^location: //ip')

say "broken off in the middle, by kill -9 of the server"
{ head -c 12000000 "$work/s3-bytes"; sleep 20; } | add 0 >&2 &
adding=$!
while [ "$(offset)" = 0 ]; do sleep 0.1; done
kill -9 $server && wait $server || true
wait $adding || true
start
at=$(offset)
[ "$at" -ge 8388608 ] && [ "$at" -lt 12000000 ] || { say "it goes on at $at" && exit 1; }
tail -c +$((at + 1)) "$work/s3-bytes" | add "$at"
get() { # RANGE
    curl -sf -H "authorization: Bearer $token" -r "$1" "$api$path"
}
get 0- | cmp - "$work/s3-bytes"
get 8388000-16777999 | cmp - <(tail -c +8388001 "$work/s3-bytes" | head -c 8390000)

say "an object is lost"
id=${path##*/}
# moto asks for a signature, and does not look at it.
signed="authorization: AWS4-HMAC-SHA256 Credential=anser/20260101/us-east-1/s3/aws4_request, \
SignedHeaders=host, Signature=0"
curl -sf -X DELETE -H "$signed" "$ENDPOINT/anser-files/some/prefix/$id/0000000000000000"
status=$(curl -s -o /dev/null -w '%{http_code}' -H "authorization: Bearer $token" "$api$path")
[ "$status" = 410 ] || { say "a missing object answers $status" && exit 1; }

say "the key is in no log"
if grep -q hush-hush "$work/s3-server.log" "$work/s3-said"; then exit 1; fi
echo "tus client; 20 MB over kill -9, from the last object on; ranges; a lost object answers 410"
