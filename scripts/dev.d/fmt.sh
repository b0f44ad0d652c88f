#!/bin/bash
# Formats the C++ sources; with --check only says which ones are not.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
mode=-i
[ "${1:-}" != --check ] || mode="--dry-run -Werror"
# shellcheck disable=SC2086
git ls-files -z -co --exclude-standard -- '*.cc' '*.h' | xargs -0 clang-format-19 $mode
