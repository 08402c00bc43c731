#!/bin/sh
# A machine without anything on it, as far as an installation can see: run in a mount namespace of its own.
# Usage: fresh_machine.sh PROGRAM SECRET-FILE INSTALL-OPTIONS...
set -eu
program=$1
secret=$2
shift 2
here=$(dirname "$0")
mkdir -p /var/lib
for place in /etc /run /var/lib /usr/local/bin; do mount -t tmpfs none "$place"; done
cp "$program" /usr/local/bin/muster
cp "$here/service_manager.sh" /run/systemctl
chmod 755 /run/systemctl
mount --bind /run/systemctl /usr/bin/systemctl
mkdir -p /run/systemd/system

muster=/usr/local/bin/muster
dir=/var/lib/muster-agent/identity
"$muster" agent install --secret-file "$secret" "$@" >/run/installed
tries=0
until "$muster" agent status --dir "$dir" >/run/status; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ]; then cat /run/agent.log; exit 1; fi
    sleep 0.1
done
# Again: the identity stays, and the secret is not written once more.
rm /etc/credstore/muster-enrollment-secret
"$muster" agent install --secret-file "$secret" "$@" >/run/again
if [ -e /etc/credstore/muster-enrollment-secret ]; then echo "the secret was written again"; exit 1; fi
grep -q "goes on as" /run/again
echo "arguments: $(tr '\0' ' ' </proc/"$(cat /run/agent.pid)"/cmdline)"
"$muster" agent uninstall
echo "calls:" $(cat /run/calls)
echo "left:" $(find /etc -type f) $(ls "$dir")
cat /run/installed /run/status /run/again /run/agent.log
