#!/bin/bash
# Whole systems that keep by themselves what they write, and nobody's rights to run them with: an image's own init on a disk, which comes
# back as it was and gives the host back what its files no longer take; one whose disk ends with the run; and one on a tmpfs.
# Started by root it becomes nobody.
#   upper_system_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
make_state_dir
make_home "$build"
make_user launcher/layerboot vfsd/vfsd guest-init/guest-init
in_guest() { layerboot exec fat -- sh -c "$1"; }
# boot COMMAND…: starts the VM, and waits until its system is up
boot() {
  layerboot "$@" > /dev/null
  in_guest 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.2; done 2> /dev/null'
  same "failed units with '$*'" "$(in_guest 'systemctl --failed --no-legend --plain')" ""
  same "the root with '$*'" "$(in_guest 'findmnt -no FSTYPE /')" overlay
}
vms=$state/data/layerboot/vms
mib_on_host() { du -sm "$1" | cut -f1; }

run=(run -q -d --name fat --accel tcg)
boot "${run[@]}" --upper disk --disk 1G "$image"
in_guest 'cd /root && echo kept > file && chown 1234:5678 file && chmod 4711 file && mknod null c 1 3 && echo lost > null && mkfifo pipe &&
  mv /etc/issue /etc/issue.moved && dd if=/dev/urandom of=big bs=1M count=96 2> /dev/null && sync'
disk=$vms/fat/upper.raw
[ "$(mib_on_host "$disk")" -ge 96 ] || fail "96 MiB that the guest has synced take $(mib_on_host "$disk") MiB of the host's"
in_guest 'rm /root/big && sync'
# ext4 discards what was freed when the journal's next transaction is through.
for ((i = 0; i < 600; ++i)); do
  [ "$(mib_on_host "$disk")" -ge 64 ] || break
  in_guest 'sync'
  sleep 0.1
done
[ "$(mib_on_host "$disk")" -lt 64 ] || fail "of 96 MiB that the guest has removed the host keeps $(mib_on_host "$disk")"
layerboot stop fat --time 600 > /dev/null
[[ $(layerboot ps -a) =~ fat.*1\.0\ GiB ]] || fail "ps: $(layerboot ps -a)"

boot start fat
same "what was kept" "kept 1234:5678 4711 character special file fifo" \
  "$(in_guest 'cd /root && echo $(cat file) $(stat -c "%u:%g %a" file) $(stat -c %F null pipe)')"
in_guest 'test ! -e /etc/issue && test -e /etc/issue.moved' || fail "a renamed file of the image is back"
layerboot stop fat --time 600 > /dev/null

# What a run writes that is to leave nothing behind is on a disk of its own.
before=$(sha256sum < "$disk")
boot "${run[@]}" --ephemeral "$image"
in_guest 'test ! -e /root/file && echo gone > /root/gone && sync' || fail "an ephemeral run sees what others wrote"
layerboot stop fat --time 600 > /dev/null
same "the disk after an ephemeral run" "$(sha256sum < "$disk")" "$before"
same "what an ephemeral run leaves" "$(find "$vms/fat" -name '*.raw')" "$disk"
layerboot rm fat > /dev/null

boot "${run[@]}" --upper ram --disk 256M "$image"
in_guest 'echo gone > /root/gone && sync'
same "the cap of a tmpfs" "$(in_guest 'df --output=size -BM / | tail -n 1 | tr -d " M"')" 256
layerboot stop fat --time 600 > /dev/null
same "what a tmpfs leaves" "$(find "$vms/fat" -name '*.raw'; find "$vms/fat/disk" -type f 2> /dev/null)" ""
layerboot rm fat > /dev/null

only_users_files
echo PASSED
