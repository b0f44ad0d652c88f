#!/bin/bash
# clang-tidy over the programs' sources, the direction of includes, and shell scripts.
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
cd "$root"
# shellcheck source=scripts/dev.d/common.sh
. scripts/dev.d/common.sh

DEV_EXTRA_PACKAGES="clang-19 clang-tidy-19 clang-format-19 shellcheck" ensure_setup
scripts/dev.d/check_floors.sh
scripts/dev.d/fmt.sh --check
git ls-files -z -- scripts dev '*.sh' | xargs -0 grep -lZE '^#!/bin/(ba)?sh' | xargs -0 shellcheck -x
# Its compile commands are all that is needed of this build.
cmake --preset clang >/dev/null
git ls-files -z -- 'oci-mount/*.cc' 'vfsd/*.cc' 'launcher/*.cc' 'guest-init/*.cc' | xargs -0 -n 8 -P "$(nproc)" clang-tidy-19 --quiet -p build/clang
