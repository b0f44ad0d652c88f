#!/bin/bash
# container_test.sh BUILD_DIR: the same image as a plain systemd container; or the one clear line why it can't be.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
make_state_dir
export XDG_DATA_HOME=$state/data XDG_CACHE_HOME=$state/cache LAYERBOOT_BUILD=$build
if ! said=$("$here/../../scripts/dev" run-container "oci:$LAYERBOOT_TEST_IMAGE:latest" --check 2> "$state/errors"); then
  cat "$state/errors"
  # A machine that can't is told so, in one line.
  if grep -qE '^dev: (run-container needs root|systemd-nspawn is missing|this machine)' "$state/errors"; then exit 77; fi
  exit 1
fi
[ "$said" = running ] || { echo "FAILED: '$said'"; exit 1; }
[ -n "$(ls -A "$state/data/layerboot/containers/"*/)" ] || { echo "FAILED: nothing was written"; exit 1; }
if grep -q "$state" /proc/mounts; then echo "FAILED: a mount is left"; exit 1; fi
echo PASSED
