#!/bin/bash
# Guests that keep by themselves what they write: on a disk, which grows while the VM runs, outlives a power cut, and is sound and the
# guest's alone; and on a tmpfs, of which nothing is left.
#   upper_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
# shellcheck source=tests/vm/commits_while_running.sh
. "$here/commits_while_running.sh"
need_test_image
make_state_dir
make_home "$build"
vm=$state/data/layerboot/vms/own

in_guest() { layerboot exec own -- sh -c "$1"; }
# refused WHAT PATTERN COMMAND…: it fails, and says so in one line
refused() {
  local what=$1 pattern=$2 said
  shift 2
  said=$("$@" 2>&1) && fail "$what was not refused: $said"
  [[ $(grep -c . <<< "$said") = 1 && $said == *$pattern* ]] || fail "$what was refused with: $said"
}
oci_mount=$build/oci-mount/mount/oci-mount
mib_of_root='df --output=size -BM / | tail -n 1 | tr -d " M"'
programs+=(--accel tcg)

# The same layers as the default image's, and two volumes: one that is not there yet, and one with the image's files.
cp -r "$LAYERBOOT_TEST_IMAGE" "$state/image"
image=oci:$state/image:latest
umoci config --image "$state/image:latest" --config.volume /srv/data --config.volume /etc/apt

layerboot run -q -d "$image" --name own --upper disk --disk 256M "${programs[@]}" -- sleep 10000
said=$(in_guest 'set -e
  grep -q "^overlay / overlay rw,noatime,lowerdir=/attributes:/lower," /proc/mounts
  grep -q "^/dev/vda /srv/data ext4 rw" /proc/mounts
  find /usr -size +0 > /dev/null
  /usr/sbin/getcap /usr/bin/ping | grep -q cap_net_raw=ep
  if grep -q /etc/apt /proc/mounts; then echo "a volume with files is hidden"; fi
  echo kept > /srv/data/kept
  echo kept > /root/kept
  mv /usr/share/doc /usr/share/documents
  rm /etc/issue
  chmod 600 /usr/bin/perl
  sync
  '"$mib_of_root") || fail "the first boot: $said"
# An overlayfs asks for an attribute of each file that is looked up; of few is one there.
asked=$(python3 - "$XDG_RUNTIME_DIR/layerboot/own/vfsd.sock" << 'END'
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b'{"command": "stats"}\n')
requests = json.loads(connection.makefile().readline())["requests"]
print(requests["GETXATTR"] if requests["READDIRPLUS"] > 500 else f"of {requests}")
END
)
[ "$asked" -le 20 ] || fail "the guest asked for $asked attributes"
[[ $said =~ ^2[0-9][0-9]$ ]] || fail "the guest sees $said MiB of 256"
layerboot resize own 512M > /dev/null
size=$(in_guest "$mib_of_root")
[ "$size" -gt 400 ] || fail "grown to 512 MiB, the guest sees $size"
refused "a smaller disk" "can only grow" layerboot resize own 128M
layerboot ps | grep -q '^own .*512\.0 MiB' || fail "ps: $(layerboot ps)"

# An image of it while it writes: who writes waits, the rest goes on.
stands_still() {
  layerboot exec own -- true || fail "a guest whose disk stands still runs nothing"
  said=$(layerboot exec own -- sh -c '(echo x > /root/frozen) & sleep 3; test -e /proc/$! && grep -c "^State:.*D" /proc/$!/status')
  same "who writes to a disk that stands still" "$said" 1
}
commits_while_running own running

# A power cut: what was synced is there, and the file system is as ext4 has to leave it.
in_guest 'echo more > /root/after; sync; echo lost > /root/unsynced' || fail "writing after the growth"
layerboot kill own > /dev/null
[ "$(stat -c %s "$vm/upper.raw")" = $((512 << 20)) ] || fail "the disk was not grown"
[ $(($(stat -c %b "$vm/upper.raw") * 512)) -lt $((128 << 20)) ] || fail "the disk is not sparse"
refused "another kind" "--upper disk" layerboot run "$image" --name own --upper host "${programs[@]}" -- true
# With a disk to swap to, which is the guest's when its first program runs, and nobody's afterwards.
layerboot run -q "$image" --name own --disk 600M --swap 64M "${programs[@]}" -- sh -c "set -e
  grep -q '^/dev/vdb *partition[[:space:]]*65532' /proc/swaps
  cat /root/kept /root/after /srv/data/kept
  test ! -e /etc/issue -a ! -e /usr/share/doc -a -d /usr/share/documents/perl-base
  stat -c %a /usr/bin/perl
  $mib_of_root" > "$state/said" || fail "after the power cut: $(cat "$state/said")"
[ ! -e "$vm/swap.raw" ] || fail "the swap disk outlived its run"
size=$(tail -n 1 "$state/said")
[ "$(head -n 4 "$state/said" | tr '\n' ' ')" = "kept more kept 600 " ] || fail "after the power cut: $(cat "$state/said")"
[ "$size" -gt 480 ] || fail "made larger while it was off, the guest sees $size MiB of 600"
cp --sparse=always "$vm/upper.raw" "$state/copy.raw"
e2fsck -fy "$state/copy.raw" > "$state/checked" 2>&1 || [ $? = 1 ] || fail "the disk: $(cat "$state/checked")"
e2fsck -fn "$state/copy.raw" > "$state/checked" 2>&1 || fail "the disk is not sound: $(cat "$state/checked")"

# As an image, of a disk whose journal has last been written to by a guest.
layerboot commit -q own own:1 --oci-mount "$oci_mount" > /dev/null || fail "commit"
said=$("$oci_mount" -q cat own:1 /root/kept /root/after /srv/data/kept | tr '\n' ' ')
[ "$said" = "kept more kept " ] || fail "committed: $said"
"$oci_mount" -q ls -l own:1 /usr/bin > "$state/said" && grep -q '^-rw------- .* perl$' "$state/said" || fail "committed: $(grep perl "$state/said")"
"$oci_mount" -q ls own:1 /usr/share/documents/perl-base > /dev/null || fail "a moved directory is not in the image"
"$oci_mount" -q ls own:1 /usr/share/doc > /dev/null 2>&1 && fail "a moved directory is in its old place, too"
"$oci_mount" -q ls own:1 /etc > "$state/said"
grep -qx issue "$state/said" && fail "a removed file is in the image"

# It goes on from an image, on a new disk.
layerboot commit -q own own:2 --rebase --keep-identity --oci-mount "$oci_mount" > /dev/null || fail "commit --rebase"
[ ! -e "$vm/upper.raw" ] || fail "a rebase left the disk"
said=$(layerboot run -q own:2 --name own "${programs[@]}" -- sh -c 'cat /root/kept /srv/data/kept; stat -c %a /usr/bin/perl
  test -d /usr/share/documents/perl-base -a ! -e /etc/issue && grep -c "^overlay / overlay rw" /proc/mounts' | tr '\n' ' ')
[ "$said" = "kept kept 600 1 " ] || fail "after the rebase: $said"
[ -s "$vm/upper.raw" ] || fail "after the rebase its kind is another"

# A reset forgets it, and with it the kind.
layerboot reset own > /dev/null
[ ! -e "$vm/upper.raw" ] || fail "reset left the disk"
said=$(layerboot run -q "$image" --name own --upper ram --disk 100M "${programs[@]}" -- sh -c "
  test ! -e /root/kept && echo gone > /root/gone && grep -c '^tmpfs /srv/data ' /proc/mounts && $mib_of_root") || fail "on a tmpfs: $said"
[ "$said" = "1
100" ] || fail "on a tmpfs: $said"
[ ! -e "$vm/upper.raw" ] && [ -z "$(ls -A "$vm/disk")" ] || fail "a tmpfs left something on the host"
layerboot rm own > /dev/null
[ ! -e "$vm" ] || fail "rm left something"
echo PASSED
