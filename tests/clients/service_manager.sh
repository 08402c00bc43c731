#!/bin/sh
# What the agent's installation needs of a service manager, for machines on which systemd does not run: it writes
# down how it was called, hands the credentials over and starts the program of the unit.
set -eu
unit=/etc/systemd/system/muster-agent.service
echo "$*" >>/run/calls
case $1 in
    restart | disable) if [ -e /run/agent.pid ]; then kill "$(cat /run/agent.pid)"; sleep 0.5; fi ;;
esac
[ "$1" = restart ] || exit 0
credentials=/run/credentials/muster-agent.service
mkdir -p "$credentials"
sed -n 's/^LoadCredential=\([^:]*\):\(.*\)/\1 \2/p' "$unit" | while read -r id name; do
    if [ -e "/etc/credstore/$name" ]; then cp "/etc/credstore/$name" "$credentials/$id"; fi
done
$(sed -n 's/^ExecStart=//p' "$unit") >/run/agent.log 2>&1 &
echo $! >/run/agent.pid
