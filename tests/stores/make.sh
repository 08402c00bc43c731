#!/usr/bin/env bash
# Makes a store with something of everything in it: make.sh MUSTER-BINARY NEW-DIRECTORY
set -euo pipefail
muster=$(realpath "$1")
into=$2
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
mkdir "$into"

export MUSTER_DATA_DIR=$room/data
"$muster" quickstart --json --listen 127.0.0.1:0 --grpc-listen 127.0.0.1:0 >"$room/hello" 2>"$room/log" &
server=$!
for _ in $(seq 100); do [[ -s $room/hello ]] && break; sleep 0.1; done
field() { python3 -c 'import json,sys; print(json.loads(sys.stdin.read())[sys.argv[1]])' "$1"; }
url=$(field url <"$room/hello")
pin=$(field ca_pin <"$room/hello")

password='a quite long password'
north=$("$muster" tenant create --name north --json | field id)
for role in admin operator viewer; do
    "$muster" user add "the-$role" --role "$role" <<<"$password" >/dev/null
done
"$muster" user add northerner --role admin --tenant "$north" <<<"$password" >/dev/null
"$muster" user add gone --role viewer <<<"$password" >/dev/null
"$muster" user disable gone >/dev/null
"$muster" api-token create --name reader --permission agent.read >/dev/null

enroll() { # DIRECTORY TOKEN
    "$muster" agent enroll --server "$url" --ca-pin "$pin" --token-file - --dir "$room/$1" <<<"$2" >/dev/null
}
token() { "$muster" enroll-token --json "$@" | field token; }

for agent in web-1 web-2 gone-1 revoked-1; do
    enroll "$agent" "$(token --agent "$agent" --name "for $agent")"
done
enroll north-1 "$(token --tenant "$north" --agent web-1)"
# A second certificate for one that is there.
enroll web-2-again "$(token --agent web-2)"
open=$(token --name open)
void=$("$muster" enroll-token --json --name void | field id)
"$muster" enroll-token void "$void" >/dev/null

capped=$("$muster" secret create --name capped --max-uses 2 --json)
field secret <<<"$capped" >"$room/secret"
chmod 600 "$room/secret"
"$muster" agent enroll --server "$url" --ca-pin "$pin" --secret-file "$room/secret" --dir "$room/by-secret" >/dev/null
revoked=$("$muster" secret create --name revoked --json | field id)
"$muster" secret revoke "$revoked" >/dev/null

default=$(field tenant_id <"$room/hello")
host() { "$muster" host list --json | python3 -c '
import json, sys
print(next(h["id"] for h in json.load(sys.stdin)["items"] if h["agent_id"] == sys.argv[1]))' "$1"; }
"$muster" host decommission "$(host gone-1)" >/dev/null
"$muster" revoke-agent --tenant "$default" --agent revoked-1 >/dev/null
"$muster" backup "$room/backup.age" >/dev/null

kill -TERM "$server"
wait "$server" || true

cp -r "$room/data/." "$into"
rm -f "$into/root-key.pem" "$into/muster.sock"
gzip --best --no-name "$into/muster.redb"
cp "$room/backup.age" "$into/backup.age"
printf '%s\n' "$open" >"$into/open-join-token"
