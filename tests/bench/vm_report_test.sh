#!/bin/bash
# vm_report_test.sh VM_REPORT: figures are set beside those of the same round, and what is no figure is refused.
set -euo pipefail
vm_report=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-test-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/results" "$work/out"
fail() { echo "FAILED: $*"; cat "$work/out/VM-RESULTS.md" 2> /dev/null || true; exit 1; }
report() { "$vm_report" --results "$work/results" --output "$work/out" --conclusion "$work/words" --kernel 6.x --commit c0ffee; }
# expect LINE: the report has it, whole
expect() { grep -qxF -- "$1" "$work/out/VM-RESULTS.md" || fail "no line '$1'"; }

echo "Some words." > "$work/words"
if report 2> "$work/error"; then fail "nothing was measured, and it did not say so"; fi
grep -q "nothing was measured" "$work/error" || fail "$(cat "$work/error")"

printf 'untar 100\nsqlite 10\nload 1\n' > "$work/results/raw.1"
printf 'untar 200\nsqlite 10\nload 2\n' > "$work/results/raw.2"
printf 'untar 400\nsqlite 10\n' > "$work/results/raw.10"
# Its first round failed: what it has is of the second and the tenth.
printf 'untar 100\nsqlite 40\n' > "$work/results/vfsd.2"
printf 'untar 100\nsqlite 5\n' > "$work/results/vfsd.10"
report
expect "| untar 400 files | 3.00 (2.00–4.00)× |"
expect "| untar 400 files | ms | 200 (100–400) | 100 (100–100) |"
expect "- better in every round: untar 400 files (3.00×)."
expect "- worse in every round: nothing."
expect "- now the one, now the other: sqlite, 30 transactions (1.12×)."
expect "- raw: 1.00 2.00"
expect "Some words."
grep -q '<svg' "$work/out/vm-results.svg" || fail "no plot"

echo "untar soon" > "$work/results/qcow2.1"
if report 2> "$work/error"; then fail "'untar soon' was taken for a figure"; fi
grep -q "qcow2.1: 'untar soon' is no figure" "$work/error" || fail "$(cat "$work/error")"
rm "$work/results/qcow2.1"
echo "untar 1" > "$work/results/qcow2.first"
if report 2> "$work/error"; then fail "'qcow2.first' was taken for a round"; fi
echo PASSED
