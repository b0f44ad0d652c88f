#!/bin/bash
# Runs every fuzzer on its corpus: fuzz.sh [SECONDS EACH]
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
cd "$root"
# shellcheck source=scripts/dev.d/common.sh
. scripts/dev.d/common.sh

seconds=${1:-60}
DEV_EXTRA_PACKAGES="clang-19 libclang-rt-19-dev" ensure_setup
# Or libFuzzer ends before it begins, and this script with it. Git keeps no empty folder.
for source in tests/fuzz/fuzz_*.cc; do
  stem=$(basename "$source" .cc)
  [ -n "$(ls -A "tests/fuzz/corpus/${stem#fuzz_}" 2> /dev/null)" ] ||
    die "no inputs to begin with for $stem: put one into tests/fuzz/corpus/${stem#fuzz_}"
done
build fuzz fuzzers
for fuzzer in build/fuzz/tests/fuzz/fuzz_*; do
  [ -x "$fuzzer" ] && [ -f "$fuzzer" ] || continue
  stem=$(basename "$fuzzer")
  # New inputs go to a scratch folder; the kept corpus is only read.
  found="build/fuzz/found/$stem"
  mkdir -p "$found"
  printf 'fuzz: %s for %s s\n' "$stem" "$seconds"
  "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$found" "tests/fuzz/corpus/${stem#fuzz_}"
done
