#!/bin/bash
# Builds everything and runs every test but those labelled `long`, which it names; arguments go to ctest (-L unit, -R name, …),
# and then none is left out by itself.
#   test.sh [--long] [CTEST-OPTION…]     --long: these, too
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
cd "$root"
# shellcheck source=scripts/dev.d/common.sh
. scripts/dev.d/common.sh

# A machine of another architecture is emulated by one test, programs of one by another.
packages="clang-19 clang-tidy-19 clang-format-19 g++-aarch64-linux-gnu qemu-system-arm qemu-user-static"
# The tests of a third one are all long.
[ "${1:-}" != --long ] || packages+=" g++-riscv64-linux-gnu qemu-system-misc opensbi"
DEV_EXTRA_PACKAGES=$packages ensure_setup
scripts/dev.d/check_floors.sh
# The process and VM tests read the default image, which is built once and kept. It is built beside the programs, for
# it waits for packages half of the time; as a group of its own, so that all of it ends where the building fails.
set -m
default_image > /dev/null &
image_job=$!
set +m
trap 'kill -- -"$image_job" 2> /dev/null || true' EXIT
build dev
wait "$image_job" || die "the default image was not built: see above"
trap - EXIT
image=$(default_image)
export LAYERBOOT_TEST_IMAGE=${image%:latest}
LAYERBOOT_TEST_IMAGE=${LAYERBOOT_TEST_IMAGE#oci:}
if [ "${1:-}" = --long ]; then
  shift
elif [ $# = 0 ]; then
  set -- --label-exclude long
  long=$(ctest --preset dev --show-only --label-regex long | sed -n 's/^ *Test *#[0-9]*: //p' | paste -sd' ')
  printf 'dev: not run, since they take minutes each (./dev test --long): %s\n' "${long:-nothing}" >&2
fi
# Most tests wait for a disk or for what they have started; those of VMs count as two (tests/vm/CMakeLists.txt).
exec ctest --preset dev --parallel "$((2 * $(nproc)))" "$@"
