#!/bin/bash
# A machine of another architecture, emulated whole, from an image for it.
#   foreign_test.sh BUILD_DIR command|systemd ARCH
# `command` runs commands to their exit codes, on each kind of upper and on a disk. `systemd` boots Debian with systemd until it is up,
# stops it, and boots it again.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1 kind=$2 architecture=$3
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
case $architecture in
  arm64) qemu=qemu-system-aarch64 machine=aarch64 ;;
  riscv64) qemu=qemu-system-riscv64 machine=riscv64 ;;
esac
command -v "$qemu" > /dev/null || skip "no $qemu on this machine: ./dev setup --arch $architecture"
[ -x "$build/guest-init/guest-init-$architecture" ] || skip "guest-init-$architecture is not built: ./dev setup --arch $architecture"

make_state_dir
make_home "$build"
# Kept, as the own architecture's is: fetching it is 40 MB of packages.
kept=$(dirname "$LAYERBOOT_TEST_IMAGE")/test/kernels-$architecture
mkdir -p "$kept"
# shellcheck disable=SC2094
(
  flock 9
  kernel=$(XDG_DATA_HOME=$kept "$build/launcher/layerboot" kernel --platform "linux/$architecture") || exit 1
  cp -r "$kernel" "$state/data/layerboot/kernels/"
) 9> "$kept/lock" || fail "there is no kernel for $architecture"
programs=(--vfsd "$build/vfsd/vfsd" --oci-mount "$build/oci-mount/mount/oci-mount")
image=$(dirname "$LAYERBOOT_TEST_IMAGE")/test/$architecture-$kind
"$here/foreign/image.sh" "$kind" "$architecture" "$image" "$state/data/layerboot/kernels/debian-$architecture/programs"

run() { layerboot run -q --accel tcg --platform "linux/$architecture" "${programs[@]}" "$@"; }

if [ "$kind" = command ]; then
  said=$(run "oci:$image:latest" --name one --cpus 2 -- sh -c 'uname -m; nproc; head -c 8 /dev/hwrng | wc -c; echo kept > /kept; exit 7' < /dev/null) &&
    fail "the command ended with 0"
  status=$?
  same "exit status" "$status" 7
  same "the command" "$said" "$machine
2
8"
  clock=$(run "oci:$image:latest" --name one -- sh -c 'cat /kept; date +%s' < /dev/null) || fail "the second run"
  same "what was written" "${clock%$'\n'*}" kept
  # A machine without a clock would be in 1970.
  [ "${clock#*$'\n'}" -gt 1700000000 ] || fail "the guest's clock says ${clock#*$'\n'}"
  for upper in disk ram; do
    same "--upper $upper" "$(run "oci:$image:latest" --name "on-$upper" --upper $upper -- sh -c 'echo x > /y && cat /y' < /dev/null)" x
  done
  same "--disk-image" "$(run "oci:$image:latest" --name from-disk --disk-image -- uname -m < /dev/null)" "$machine"
  # Without the option it is not an image for this machine, and that is said.
  ! layerboot run -q "oci:$image:latest" --name plain "${programs[@]}" -- true < /dev/null 2> "$state/err" || fail "it runs without --platform"
  grep -q -e "--platform linux/$architecture" "$state/err" || fail "without --platform it says: $(cat "$state/err")"
else
  in_guest() { layerboot exec fat -- sh -c "$1"; }
  wait_until_up() {
    in_guest 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 1; done 2>/dev/null' || fail "it did not come up"
  }
  begun=$SECONDS
  run -d "oci:$image:latest" --name fat
  wait_until_up
  echo "up after $((SECONDS - begun)) s"
  said=$(in_guest 'systemctl is-system-running; systemctl --failed --no-legend --plain; uname -m')
  same "the system" "$said" "running
$machine"
  in_guest 'echo kept > /kept'
  # There is no power button that this kernel hears: its agent ends it.
  begun=$SECONDS
  layerboot stop fat --time 600 || fail "stop"
  echo "off after $((SECONDS - begun)) s"
  layerboot logs fat | grep -q "Power down" || fail "no end in order"
  layerboot start fat "${programs[@]:0:2}"
  same "what was written" "$(in_guest 'cat /kept')" kept
  layerboot rm -f fat
fi
[ -z "$(find "$state" -type s)" ] || fail "sockets are left"
echo PASSED
