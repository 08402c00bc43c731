#!/bin/sh
# A machine without anything on it, as far as an installation can see: run in a mount namespace of its own. It gets
# what somebody pastes, and then the same again with another link, from a file.
# Usage: fresh_machine.sh LINE LINK-FILE
set -eu
line=$1
link=$2
here=$(dirname "$0")
mkdir -p /var/lib
for place in /etc /run /var/lib /usr/local/bin; do mount -t tmpfs none "$place"; done
cp "$here/service_manager.sh" /run/systemctl
chmod 755 /run/systemctl
mount --bind /run/systemctl /usr/bin/systemctl
mkdir -p /run/systemd/system /run/pasted
cd /run/pasted

muster=/usr/local/bin/muster
dir=/var/lib/muster-agent/identity
if ! sh -c "$line" >/run/installed; then cat /run/agent.log; exit 1; fi
cmp -s ./muster "$muster" || { echo "another program was installed"; exit 1; }
"$muster" agent status --dir "$dir" >/run/status
# Again: the identity stays, and no credential is written.
rm /etc/credstore/muster-join-token
"$muster" agent install --link-file - <"$link" >/run/again
for name in muster-join-token muster-enrollment-secret; do
    if [ -e "/etc/credstore/$name" ]; then echo "a credential was written again"; exit 1; fi
done
grep -q "goes on as" /run/again
echo "arguments: $(tr '\0' ' ' </proc/"$(cat /run/agent.pid)"/cmdline)"
"$muster" agent uninstall
echo "calls:" $(cat /run/calls)
echo "left:" $(find /etc /usr/local/bin -type f) $(ls "$dir")
cat /run/installed /run/status /run/again /run/agent.log
