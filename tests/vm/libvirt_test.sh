#!/bin/bash
# libvirt_test.sh BUILD_DIR: a VM of either kind of root is defined, started and shut down by a real libvirtd.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
[ -n "${LAYERBOOT_TEST_IMAGE:-}" ] || { echo "LAYERBOOT_TEST_IMAGE is not set: run ./dev test"; exit 1; }
for program in libvirtd virsh; do
  PATH=$PATH:/usr/sbin command -v $program > /dev/null || { echo "skipped: no $program on this machine"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: a libvirtd of our own needs root"; exit 77; }
state=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-vm-XXXXXX")
trap 'rm -rf "$state"' EXIT
kernels=$("$build/launcher/layerboot" kernel --guest-init "$build/guest-init/guest-init")
mkdir -p "$state/data/layerboot/kernels" "$state/run"
cp -r "$kernels" "$state/data/layerboot/kernels/"
export XDG_DATA_HOME=$state/data XDG_CACHE_HOME=$state/cache XDG_RUNTIME_DIR=$state/run
export LAYERBOOT_BUILD=$build
for kind in "" --virtiofs; do
  # shellcheck disable=SC2086
  "$here/../../scripts/dev" run-image-libvirt $kind "oci:$LAYERBOOT_TEST_IMAGE:latest" --accel tcg < /dev/null 2>&1 | tee "$state/log"
  grep -q "is running" "$state/log"
  grep -q "at its login prompt" "$state/log"
  grep -q "is shut off" "$state/log"
done
if pgrep -f "$state" > /dev/null; then echo "FAILED: processes are left"; exit 1; fi
echo PASSED
