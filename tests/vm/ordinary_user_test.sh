#!/bin/bash
# Everything without root: an image run as a command, a fat VM with a volume, a port and a second start, and a disk made and booted,
# by an ordinary user who has nothing but the programs, the image and a kernel. Started by root it becomes nobody.
#   ordinary_user_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
# A mount namespace of its own, for a /dev/fuse that users may open.
if [ "$(id -u)" = 0 ] && [ -z "${LAYERBOOT_TEST_NAMESPACE:-}" ]; then
  LAYERBOOT_TEST_NAMESPACE=1 exec unshare -m --propagation private "$0" "$@"
fi
make_state_dir
make_home "$build"
mkdir "$state/shared"
if [ "$(id -u)" = 0 ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
  # As udev leaves it; without one it is root's alone.
  mknod -m 666 "$state/fuse" c 10 229
  mount --bind "$state/fuse" /dev/fuse
fi
make_user launcher/layerboot vfsd/vfsd guest-init/guest-init oci-mount/mount/oci-mount
# expect WHAT WANTED GOT
expect() { [ "$2" = "$3" ] || fail "$1: wanted '$2', got '$3'"; }
in_guest() { layerboot exec fat -- sh -c "$1"; }

status=0
said=$(layerboot run -q --name command --accel tcg "$image" -- sh -c 'id -u; exit 7' < /dev/null) || status=$?
expect "the command's exit code" 7 $status
expect "who the command is" 0 "$said"

port=$((20000 + RANDOM % 20000))
layerboot run -q -d --name fat --accel tcg -v "$state/shared:/shared" -p "127.0.0.1:$port:7777" "$image"
in_guest 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.2; done 2> /dev/null'
expect "failed units" "" "$(in_guest 'systemctl --failed --no-legend --plain')"
in_guest 'cd /root && echo kept > file && chown 1234:5678 file && chmod 4711 file && mknod null c 1 3 && echo lost > null &&
  ln -s file link && chown -h 99:99 link && mkfifo pipe && mv /etc/issue /etc/issue.moved && echo volume > /shared/note && chown 42:43 /shared/note'
in_guest 'systemd-socket-activate -l 7777 --accept --inetd /bin/echo answered > /dev/null 2>&1 &'
answer=
for _ in $(seq 50); do
  answer=$({ timeout 20 cat < "/dev/tcp/127.0.0.1/$port"; } 2> /dev/null || true)
  [ -z "$answer" ] || break
  sleep 0.2
done
expect "the published port" answered "$answer"
expect "the volume" volume "$(cat "$state/shared/note")"
layerboot stop fat --time 600 > /dev/null
layerboot start fat > /dev/null
expect "what was kept" "kept 1234:5678 4711 character special file 99:99 fifo 42:43" \
  "$(in_guest 'cd /root && echo $(cat file) $(stat -c "%u:%g %a" file) $(stat -c %F null) $(stat -c %u:%g link) $(stat -c %F pipe) $(stat -c %u:%g /shared/note)')"
in_guest 'test ! -e /etc/issue && test -e /etc/issue.moved'
layerboot stop fat --time 600 > /dev/null

layerboot disk -q "$image" "$state/home/disk.raw" --size 2G
[ -s "$state/home/disk.raw" ] || fail "no disk was made"
status=0
said=$(layerboot run -q --name disk --accel tcg --disk-image "$image" -- sh -c 'stat -c %u:%g /etc/shadow | tr -d "\n"; findmnt -no FSTYPE /; exit 5' < /dev/null) || status=$?
expect "the exit code on a disk" 5 $status
expect "a disk's owners and file system" "0:42ext4" "$said"

only_users_files
echo PASSED
