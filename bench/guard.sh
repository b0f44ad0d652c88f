#!/bin/bash
# Counts the instructions of one request on each hit path, and fails where there are too many: a guard in CI against
# regressions that a clock would not show.
#   guard.sh HOT_PATH_PROGRAM        exit code 77: valgrind is missing
set -euo pipefail
program=${1:?the hot_path program}
command -v valgrind > /dev/null || { echo "bench-guard: skipped, valgrind is not installed"; exit 77; }

# OPERATION BOUND. Bounds are about twice what was counted (DESIGN.md); raise one only with a reason written there.
readonly bounds="getattr 1200
lookup 2400
lookup-miss 2000
read 3000"
readonly few=1000 many=6000

instructions() {
  LC_ALL=C timeout 30 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
    sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p'
}

failed=0
while read -r operation bound; do
  low=$(instructions "$operation" $few)
  high=$(instructions "$operation" $many)
  [ -n "$low" ] && [ -n "$high" ] || { echo "bench-guard: $operation could not be counted"; exit 1; }
  each=$(( (high - low) / (many - few) ))
  echo "bench-guard: $operation: $each instructions, at most $bound"
  [ "$each" -le "$bound" ] || failed=1
done <<< "$bounds"
exit $failed
