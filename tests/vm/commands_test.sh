#!/bin/bash
# The commands about VMs as people know them from containers, on a VM with nothing but a busybox: cp, exec -d, ps, logs, stats, wait,
# rename, restart, volumes, `run` with what docker's has, and standard input to its last byte.
#   commands_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
# shellcheck source=tests/vm/commits_while_running.sh
. "$here/commits_while_running.sh"
need_test_image
built=$(dirname "$LAYERBOOT_TEST_IMAGE")/test/busybox
"$here/systems/image.sh" busybox "$built"

make_state_dir
make_home "$build"
export LAYERBOOT_CONFIG=
layout=$state/image image=oci:$state/image:latest
cp -r "$built" "$layout"
umoci config --image "$layout:latest" --config.volume /srv/missing
mkdir -p "$state/inner" "$state/deeper" "$state/outer/below" && echo inner > "$state/inner/file" && echo deeper > "$state/deeper/file"
refused() { # WHAT PATTERN COMMAND...
  local what=$1 pattern=$2 said
  shift 2
  said=$("$@" 2>&1) && fail "$what: was not refused"
  [[ $said == *"$pattern"* ]] || fail "$what: said: $said"
}
in_guest() { layerboot exec web -- sh -c "$1"; }

printf '# of the file\nFROM_FILE=1\nBOTH=file\n' > "$state/env"
layerboot run -q -d --wait "$image" --name web -m 192m --label team=a --env-file "$state/env" -e BOTH=given --tmpfs /scratch:size=1m \
  -v "$state/inner:/scratch/inner" -v "$state/deeper:/outer/below" -v "$state/outer:/outer:ro" -v "$state/env:/etc/app.conf:ro,Z" --add-host db:10.9.9.9 --dns 9.9.9.9 -p 80 -v data:/data \
  --mount "type=bind,source=$state,target=/host,readonly" --accel tcg \
  "${programs[@]}" -- sh -c 'echo begun; echo "$FROM_FILE $BOTH" > /data/env; while :; do sleep 1; done'

# What run was asked for is there.
said=$(in_guest 'until [ -s /data/env ]; do sleep 0.2; done; cat /data/env; read -r line < /etc/app.conf; echo "$line"; cat /etc/resolv.conf
  while read -r line; do case $line in *db*) echo "$line" ;; esac; done < /etc/hosts
  while read -r line; do case $line in tmpfs\ /scratch*) echo "${line%%,relatime*}" ;; esac; done < /proc/mounts
  echo no > /host/x 2> /dev/null || echo read-only')
same "what run was asked for" "$said" "1 given
# of the file
nameserver 9.9.9.9
10.9.9.9 db
tmpfs /scratch tmpfs rw,nosuid,nodev,noexec
read-only"
same "what is mounted inside another" "$(in_guest 'cat /scratch/inner/file /outer/below/file')" "inner
deeper"
in_guest 'busybox test -d /srv/missing' || fail "the image's volume was not made"
same "the named volume" "$(cat "$state/data/layerboot/volumes/data/env")" "1 given"
refused "a file to be written to" "add :ro" layerboot run "$image" --name other -v "$state/env:/etc/app.conf" "${programs[@]}" -- true
refused "a volume in use" "is VM web's" layerboot volume rm data
same "volume ls" "$(layerboot volume ls --names)" data
port=$(layerboot ps --filter label=team=a --format '{{.Name}} {{.State}} {{.Ports}}')
[[ $port =~ ^web\ running\ 127.0.0.1:[0-9]+-\>80/tcp$ ]] || fail "ps: $port"
same "another label" "$(layerboot ps --filter label=team=b --names)" ""
layerboot ps | head -1 | grep -q '^NAME  *STATE  *CPUS .*PORTS  *IMAGE$' || fail "ps: $(layerboot ps)"

# Modules on demand without a modprobe in the image; nothing is told of an AppArmor that has no parser.
same "kernel.modprobe" "$(in_guest 'cat /proc/sys/kernel/modprobe')" /run/layerboot/layerboot-modprobe
in_guest 'mkdir -p /scratch/l /scratch/u /scratch/w /scratch/m &&
  mount -t overlay -o lowerdir=/scratch/l,upperdir=/scratch/u,workdir=/scratch/w overlay /scratch/m && umount /scratch/m' ||
  fail "overlay was not loaded on demand"
same "AppArmor" "$(in_guest 'cat /sys/module/apparmor/parameters/enabled 2> /dev/null || echo N')" N

# Standard input is whole.
head -c 500000 /dev/urandom > "$state/random"
wanted=$(sha256sum < "$state/random")
# shellcheck disable=SC2002 # a pipe is meant
for _ in 1 2 3; do
  same "exec -i of a pipe" "$(cat "$state/random" | layerboot exec -i web -- busybox sha256sum)" "$wanted"
done
same "exec -i of a file" "$(layerboot exec -i web -- busybox sha256sum < "$state/random")" "$wanted"
# shellcheck disable=SC2002
same "run of a pipe" "$(cat "$state/random" | layerboot run -q --rm "$image" --accel tcg "${programs[@]}" -- busybox sha256sum)" "$wanted"

# Copies, both ways.
mkdir -p "$state/tree/below/deep"
cp "$state/random" "$state/tree/below/random"
echo text > "$state/tree/below/deep/$(printf 'n%.0s' {1..200})"
ln -s below/random "$state/tree/link"
chmod 0750 "$state/tree/below" && chmod 04711 "$state/tree/below/random"
layerboot cp "$state/tree" web:/tree || fail "cp in"
same "the mode" "$(in_guest 'busybox stat -c "%a %u" /tree/below/random')" "4711 0"
layerboot cp "$state/tree" web:/data/ || fail "cp into a directory"
layerboot cp web:/tree "$state/back" || fail "cp out"
diff -r "$state/tree" "$state/back" || fail "what came back is different"
same "the link" "$(readlink "$state/back/link")" below/random
same "the mode here, without rights" "$(stat -c %a "$state/back/below/random" "$state/back/below" | tr '\n' ' ')" "711 750 "
in_guest 'busybox mkdir -m 1777 /open && echo x > /open/file && busybox mkfifo /open/fifo && busybox mknod /open/null c 1 3' || fail "what stays there"
mkdir -m 0700 "$state/private"
layerboot cp web:/open/. "$state/private" 2> "$state/said" || fail "cp of a device: $(cat "$state/said")"
same "what came" "$(stat -c %a "$state/private") $(ls -A "$state/private")" "700 file"
grep -q 'null: a device is left out' "$state/said" || fail "cp of a device: $(cat "$state/said")"
refused "nothing but a device" "nothing of what was asked for" layerboot cp web:/open/null "$state/null"
layerboot cp "$state/tree/." web:/data/tree/below || fail "what a directory holds"
same "what it held" "$(in_guest 'cd /data/tree/below; echo *')" "below deep link random"
[ "$(layerboot cp web:/etc/hostname - | tar -t)" = hostname ] || fail "cp to a tar"
tar -C "$state" -c env | layerboot cp - web:/data || fail "cp of a tar"
same "what the tar had" "$(in_guest 'cat /data/env')" "$(cat "$state/env")"
refused "what is not there" "no /none in the VM" layerboot cp web:/none "$state/x"
refused "what is not here" "no /none here" layerboot cp /none web:/
refused "a file's place" "is a file" layerboot cp "$state/tree" web:/data/env
refused "another VM" "did you mean web?" layerboot cp wbe:/etc "$state/x"
[ ! -e "$state/x" ] || fail "a refused copy left something"

# exec -d, logs, stats.
layerboot exec -d web -- sh -c 'sleep 2; echo done > /data/later' || fail "exec -d"
for ((i = 0; i < 600; ++i)); do [ -e "$state/data/layerboot/volumes/data/later" ] && break || sleep 0.5; done
[ -e "$state/data/layerboot/volumes/data/later" ] || fail "a detached program did not go on"
[[ $(layerboot logs -t -n 1 web) =~ ^20[0-9]{2}-[0-9-]+T[0-9:]+Z\  ]] || fail "logs -t: $(layerboot logs -t -n 1 web)"
[[ $(layerboot logs web) == *begun* ]] || fail "logs: $(layerboot logs web)"
same "logs from tomorrow on" "$(layerboot logs --since 2100-01-01 web)" ""
[[ $(layerboot stats --no-stream --json) == *'"name":"web"'* ]] || fail "stats: $(layerboot stats --no-stream --json)"
layerboot stats --no-stream web > "$state/stats"
grep -qE '^web +[0-9.]+ +[0-9.]+ MiB of 192' "$state/stats" || fail "stats: $(cat "$state/stats")"

# An image of it while it writes; paused, it hears nothing.
oci_mount=$build/oci-mount/mount/oci-mount
stands_still() { same "the state of one that is read" "$(layerboot ps --format '{{.State}}')" paused; }
commits_while_running web site

# An end that is waited for, another name, and again.
layerboot wait web > "$state/waited" &
waiting=$!
sleep 1
layerboot stop web > /dev/null || fail "stop"
wait "$waiting" || fail "wait"
same "wait" "$(cat "$state/waited")" 143
same "wait for one that has ended" "$(layerboot wait web)" 143
layerboot rename web site || fail "rename"
refused "the old name" "no VM web" layerboot start web
same "what is stopped" "$(layerboot ps --filter state=stopped --names)" site
layerboot restart site "${programs[@]}" > /dev/null || fail "restart"
same "its host name" "$(layerboot exec site -- hostname)" site
layerboot rm -f site > /dev/null || fail "rm"
same "volume rm" "$(layerboot volume rm data)" data

# One that fails is started again, as often as was asked for.
layerboot run -q -d "$image" --name again --restart on-failure:1 --accel tcg "${programs[@]}" -- sh -c 'echo run >> /runs; exit 3' > /dev/null
for ((i = 0; i < 1200; ++i)); do
  [ -n "$(layerboot ps --names)" ] || break
  sleep 0.5
done
same "its runs" "$(cat "$state/data/layerboot/vms/again/disk/upper/runs")" "run
run"
same "its last status" "$(layerboot wait again)" 3
[ -z "$(find "$state" -type s)" ] || fail "sockets are left"
echo PASSED
