#!/bin/bash
# What grows with an image's files and layers, and with the number of VMs on it; writes GROWTH-RESULTS.md.
#   run_growth.sh BUILD_DIR [--files "1000 100000 1000000"] [--work DIR] [--output DIR]
set -euo pipefail
here=$(dirname "$(realpath "$0")")
readonly here
build=$(realpath "${1:?the build directory}")
shift
sizes="1000 100000 1000000" work=${XDG_CACHE_HOME:-$HOME/.cache}/layerboot-bench output=$here
while [ $# -gt 0 ]; do
  case $1 in
    --files) sizes=$2 ;;
    --work) work=$2 ;;
    --output) output=$2 ;;
    *) echo "bench: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
readonly layered_files=100000 layer_counts="1 5 30" vm_counts="1 4 16"
mkdir -p "$work/growth"
work=$(realpath "$work/growth")
first=()
if chrt -f 1 true 2> /dev/null; then first=(chrt -f 1); fi

daemons=()
stop_daemons() {
  [ ${#daemons[@]} = 0 ] || kill "${daemons[@]}" 2> /dev/null || true
  wait
  daemons=()
}
trap stop_daemons EXIT

image() { # FILES LAYERS: prints its reference
  local layout="$work/files-$1-layers-$2"
  [ -e "$layout/index.json" ] || { rm -rf "$layout" && "$build/bench/growth" --make-image "$layout" --files "$1" --layers "$2"; }
  echo "oci:$layout:latest"
}
start() { # IMAGE NUMBER
  rm -rf "$work/socket-$2" "$work/upper-$2" "$work/ready"
  mkfifo "$work/ready"
  "${first[@]}" "$build/vfsd/vfsd" --socket-path "$work/socket-$2" --image "$1" --index-dir "$work/index" --upper "$work/upper-$2" \
    --quota 1G --quiet --request-queues 1 --ready-fd 3 3> "$work/ready" &
  daemons+=($!)
  read -r _ < "$work/ready" || { echo "bench: vfsd did not start on $1" >&2; exit 1; }
}
measure() { "${first[@]}" "$build/bench/growth" --socket "$work/socket-$1" --pid "${daemons[$1]}"; }
mebibytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f", bytes / 1048576 }'; }
row() { # FILES LAYERS: a line of the table
  local reference result
  reference=$(image "$1" "$2")
  start "$reference" 0
  result=$(measure 0)
  stop_daemons
  jq -r --arg layers "$2" '"| \(.files) | \($layers) | \(.list_us_per_entry) | \(.lookup_us) | \(.getattr_us) | \(.memory_before / 1048576 * 10 | round / 10) | \(.memory_after / 1048576 * 10 | round / 10) | \(.descriptors) |"' <<< "$result"
}
heading='| files | layers | list, µs CPU per entry | LOOKUP, µs | GETATTR, µs | memory before, MiB | after, MiB | fds |
|---|---|---|---|---|---|---|---|'

rows=$(
  echo "$heading"
  for files in $sizes; do row "$files" 1; done
  for layers in $layer_counts; do [ "$layers" = 1 ] || row $layered_files "$layers"; done
)
vms=$(
  echo '| VMs | of each: private, MiB | of all: proportional, MiB | per further VM, MiB |'
  echo '|---|---|---|---|'
  reference=$(image $layered_files 30)
  one=
  for count in $vm_counts; do
    for ((vm = 0; vm < count; vm++)); do start "$reference" "$vm"; done
    for ((vm = 0; vm < count; vm++)); do measure "$vm" > /dev/null; done
    private=0 proportional=0
    for pid in "${daemons[@]}"; do
      read -r pss mine < <(awk '/^Pss:/ { p = $2 } /^Private_(Clean|Dirty):/ { m += $2 } END { print p, m }' "/proc/$pid/smaps_rollup")
      proportional=$((proportional + pss)) private=$((private + mine))
    done
    stop_daemons
    one=${one:-$proportional}
    further=–
    [ "$count" = 1 ] || further=$(mebibytes $(((proportional - one) * 1024 / (count - 1))))
    echo "| $count | $(mebibytes $((private * 1024 / count))) | $(mebibytes $((proportional * 1024))) | $further |"
  done
)
{
  cat << TEXT
# What grows

Written by \`./dev bench growth\`. Commit $(git -C "$here" rev-parse --short HEAD 2> /dev/null || echo unknown), $(nproc) × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)${first[*]:+, ahead of all other processes}.
CPU time is vfsd's. Each tree is listed whole first, as by find(1), a page of 4 KiB at a time and one request after the other; then LOOKUP and GETATTR go
to files at random, 32 at a time. Memory is what is resident and not the guest's; of mapped indexes that includes what was touched.

## With files and layers

$rows

## With VMs on one image

$layered_files files in 30 layers, one vfsd for each VM, after all of the above was asked of each. Proportional: what they share is divided among them.

$vms
TEXT
} > "$output/GROWTH-RESULTS.md"
echo "bench: written: $output/GROWTH-RESULTS.md" >&2
