#!/bin/bash
# Runs one of the .exp scripts here in a state directory of its own, with the kernels of this machine so that none is fetched anew,
# and removes what it made.
#   run_vm_test.sh BUILD_DIR SCRIPT
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
script=$2
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
make_state_dir
make_home "$build"
# What the verbs of ./dev take for granted: programs that are built, and the default image.
mkdir -p "$state/data/layerboot/images"
ln -s "$LAYERBOOT_TEST_IMAGE" "$state/data/layerboot/images/demo"
export LAYERBOOT_BUILD=$build
STATE_DIR=$state "$here/$script" "$build/launcher/layerboot" "$build/vfsd/vfsd" \
  "$build/guest-init/guest-init" "$LAYERBOOT_TEST_IMAGE"
