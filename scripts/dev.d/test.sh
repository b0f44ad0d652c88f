#!/bin/bash
# Builds everything and runs every test; arguments go to ctest (-L unit, -R name, …).
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
cd "$root"
# shellcheck source=scripts/dev.d/common.sh
. scripts/dev.d/common.sh

DEV_EXTRA_PACKAGES="clang-19 clang-tidy-19 clang-format-19" ensure_setup
scripts/dev.d/check_floors.sh
build dev
# The process and VM tests read the default image; built once and kept.
image=$(default_image)
export LAYERBOOT_TEST_IMAGE=${image%:latest}
LAYERBOOT_TEST_IMAGE=${LAYERBOOT_TEST_IMAGE#oci:}
exec ctest --preset dev --parallel "$(nproc)" "$@"
