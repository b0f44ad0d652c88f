#!/bin/bash
# Boots one image from virtiofs and from disks, in alternation, runs the same jobs in each, and writes VM-RESULTS.md.
#   compare.sh BUILD_DIR IMAGE_LAYOUT [--rounds N] [--only LIST] [--work DIR] [--output DIR]
# Needs root: unpacking for the other daemons keeps owners, and they run as root.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$(realpath "${1:?the build directory}") image=$(realpath "${2:?the default image, an OCI layout}")
shift 2
rounds=3 work=${XDG_CACHE_HOME:-$HOME/.cache}/layerboot-bench-vm output=$(dirname "$here") only=
known="vfsd vfsd-disk vfsd-ram vfsd-writeback raw qcow2 virtiofsd-c virtiofsd-rust"
say() { printf 'bench: %s\n' "$*" >&2; }
usage() {
  say "$1"
  say "usage: bench vm [--rounds N] [--only ${known// /,}] [--work DIR] [--output DIR]"
  exit 2
}
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage "$1 needs a value, or is no option"
  case $1 in
    --rounds) rounds=$2 ;;
    --work) work=$2 ;;
    --output) output=$2 ;;
    --only) only=$2 ;;
    *) usage "unknown option $1" ;;
  esac
  shift 2
done
for contender in ${only//,/ }; do
  [[ " $known " == *" $contender "* ]] || usage "no contender '$contender': there are $known"
done
[[ $rounds =~ ^[1-9][0-9]{0,2}$ ]] || usage "--rounds takes a number from 1 to 999, not '$rounds'"
[ "$(id -u)" = 0 ] || { say "the comparison needs root"; exit 1; }
# Before the first round, which takes minutes.
mkdir -p "$work" "$output"
output=$(realpath "$output")
kept=$(realpath "$work")
work=$kept/disk
# shellcheck source=bench/own_disk.sh
. "$here/../own_disk.sh"
kernels=${XDG_DATA_HOME:-/var/lib}/layerboot/kernels
"$build/launcher/layerboot" kernel > /dev/null
own_disk "$work" 32G
trap 'cd / && drop_own_disk "$work"' EXIT
cd "$work"
# An image that other jobs were put into is another image.
jobs_image=image-$(cat "$here/make_image.sh" "$here/jobs.sh" "$image/index.json" | sha256sum | cut -c1-12)
for older in image-*; do [ "$older" = "$jobs_image" ] || rm -rf --one-file-system "$older"; done
"$here/make_image.sh" "$image" "$work/$jobs_image"
reference=oci:$work/$jobs_image:latest
run_limit=900 # seconds for one boot and its jobs, on a slow machine
size=3G       # of each disk, and the cap of what a VM may write

export XDG_DATA_HOME=$work/state/data XDG_CACHE_HOME=$work/state/cache XDG_RUNTIME_DIR=$work/state/run
result=
put() { echo "$1 $2" >> "$result"; }
milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
# timed NAME COMMAND…
timed() {
  local name=$1 begin
  shift
  begin=$(milliseconds)
  "$@" > step.log 2>&1 || { say "$name failed: $(tail -n 1 step.log)"; return 1; }
  put "$name" $(($(milliseconds) - begin))
}
kib_of() { du -sk --total "$@" 2> /dev/null | tail -n 1 | cut -f1; }

# ---- the contenders --------------------------------------------------------------------------------------------
contenders=(vfsd vfsd-disk vfsd-ram vfsd-writeback raw qcow2)
if [ -x /usr/lib/qemu/virtiofsd ]; then contenders+=(virtiofsd-c); else say "no C virtiofsd here: left out"; fi
rust=()
if "$here/../fetch_rust_virtiofsd.sh" "$kept/rust" > rust.log 2>&1; then
  mapfile -t rust < "$kept/rust/command"
  contenders+=(virtiofsd-rust)
else
  say "the Rust virtiofsd can't be had ($(tail -n 1 rust.log)): left out"
fi
if [ -n "$only" ]; then
  IFS=, read -r -a chosen <<< "$only"
  for contender in "${chosen[@]}"; do
    [[ " ${contenders[*]} " == *" $contender "* ]] || { say "$contender can't be had here"; exit 1; }
  done
  contenders=("${chosen[@]}")
fi

daemon_pid='' vm_pid=''
stop_all() {
  # The guest is not asked: nobody wants what is on its disk.
  [ -z "$vm_pid" ] || "$build/launcher/layerboot" kill bench > /dev/null 2>&1 || true
  for pid in $vm_pid $daemon_pid; do
    kill "$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
  done
  daemon_pid='' vm_pid=''
}
end() {
  stop_all
  rm -rf state served bundle disk.first
  cd /
  drop_own_disk "$work"
}
trap end EXIT
trap 'say interrupted; exit 130' INT
trap 'exit 143' TERM HUP

# From blobs to ready to boot, nothing known before; then once more for another VM of the same image.
prepare() {
  case $1 in
    vfsd*)
      timed prepare "$build/oci-mount/mount/oci-mount" index "$reference"
      put prepare-kib "$(kib_of state/cache)"
      timed prepare-again "$build/oci-mount/mount/oci-mount" index "$reference" ;;
    raw | qcow2)
      timed prepare "$build/launcher/layerboot" disk "$reference" disk.first --size $size --format "$1"
      # A qcow2 VM keeps the base and its overlay, a raw one the base and a copy.
      put prepare-kib "$(kib_of state/data/layerboot/disks "$([ "$1" = raw ] && echo disk.first || echo state/data/layerboot/disks)")"
      rm -f disk.first
      if [ "$1" = raw ]; then
        timed prepare-again "$build/launcher/layerboot" disk "$reference" disk.first --size $size --format raw
      else
        timed prepare-again qemu-img create -q -f qcow2 -F raw -b "$(echo "$PWD"/state/data/layerboot/disks/sha256-*/disk.raw)" disk.first
      fi
      rm -f disk.first ;;
    virtiofsd-*)
      rm -rf bundle
      timed prepare umoci unpack --image "${reference#oci:}" bundle
      put prepare-kib "$(kib_of bundle)"
      timed prepare-again cp -a --reflink=auto bundle/rootfs served
      # What the launcher brings to its own VMs by a layer.
      tar -C served --keep-directory-symlink -xf "$XDG_DATA_HOME/layerboot/kernels/debian/modules.tar" ;;
  esac
}

start_daemon() {
  local command=()
  rm -f socket
  case $1 in
    virtiofsd-c) command=(/usr/lib/qemu/virtiofsd "--socket-path=$work/socket" -o "source=$work/served" -o xattr -o cache=always) ;;
    virtiofsd-rust)
      command=("${rust[@]}" --socket-path "$work/socket" --shared-dir "$work/served" --xattr --cache always
        --sandbox none --log-level error) ;;
    *) return 0 ;;
  esac
  "${command[@]}" > daemon.log 2>&1 &
  daemon_pid=$!
  for _ in $(seq 100); do
    if [ -S socket ] && grep -q " $work/socket\$" /proc/net/unix; then return 0; fi
    kill -0 "$daemon_pid" 2> /dev/null || break
    sleep 0.1
  done
  say "$1 did not start: $(tail -n 1 daemon.log)"
  return 1
}

# The proportional set size of a process and all below it, in KiB.
memory_of() {
  local pid=$1 child sum
  sum=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2> /dev/null || true)
  sum=${sum:-0}
  while read -r -d ' ' child; do sum=$((sum + $(memory_of "$child"))); done < <(cat /proc/"$pid"/task/*/children 2> /dev/null)
  echo "$sum"
}

run_vm() {
  local options=(--cpus 2 --memory 1G --accel tcg --name bench)
  [[ $1 == virtiofsd-* ]] || options+=(--disk "$size")
  case $1 in
    vfsd) options+=("$reference") ;;
    vfsd-disk | vfsd-ram) options+=("$reference" --upper "${1#vfsd-}") ;;
    vfsd-writeback) options+=("$reference" --writeback) ;;
    raw | qcow2) options+=(--disk-image "$reference" --disk-format "$1") ;;
    virtiofsd-*) options+=(--socket-path "$work/socket") ;;
  esac
  : > console.log
  "$build/launcher/layerboot" run "${options[@]}" < /dev/null > console.log 2>&1 &
  vm_pid=$!
  local told=0 booted=0 begin
  begin=$(milliseconds)
  while kill -0 "$vm_pid" 2> /dev/null; do
    # By the host's clock: an emulated guest on a loaded host may calibrate its own wrongly.
    if [ $booted = 0 ] && grep -q 'BENCH boot-kernel' console.log; then
      booted=1
      put boot-wall $(($(milliseconds) - begin))
    fi
    if [ $told = 0 ] && grep -q '^BENCH done' console.log; then
      told=1
      put host-memory-kib $(($(memory_of "$vm_pid") + $([ -z "$daemon_pid" ] || memory_of "$daemon_pid") + 0))
    fi
    if [ $(($(milliseconds) - begin)) -gt $((run_limit * 1000)) ]; then
      say "$1: not done within $run_limit s"
      break
    fi
    sleep 0.5
  done
  [ $told = 1 ] || say "$1: the guest did not come to the end of its jobs"
  if kill -0 "$vm_pid" 2> /dev/null; then stop_all; fi
  [ -z "$vm_pid" ] || wait "$vm_pid" || say "$1: the VM ended badly: $(tail -n 1 console.log)"
  vm_pid=
  stop_all
  tr -d '\r' < console.log | sed -n 's/^.*BENCH \([a-z0-9-]* [0-9][0-9.]*\)$/\1/p' | grep -v '^done' >> "$result"
  tr -d '\r' < console.log | grep 'BENCH failed' >&2 || true
  case $1 in
    vfsd-disk) put grown-kib "$(kib_of state/data/layerboot/vms/bench/upper.raw)" ;;
    vfsd-ram) put grown-kib 0 ;;
    vfsd*) put grown-kib "$(kib_of state/data/layerboot/vms/bench/disk)" ;;
    qcow2) put grown-kib "$(kib_of state/data/layerboot/vms/bench/disk.qcow2)" ;;
  esac
}

report() {
  "$build/bench/vm_report" --results results --output "$output" --kernel "$(cat "$kernels/debian/release")" \
    --commit "$commit" --conclusion "$here/conclusion.md"
}
# Of what is measured; whoever is at work there may commit meanwhile.
commit=$(git -C "$here" rev-parse --short HEAD 2> /dev/null || echo unknown)
rm -rf results
mkdir results
for round in $(seq "$rounds"); do
  # Each round begins with another one, so that nobody always comes after the same.
  first=$(((round - 1) % ${#contenders[@]}))
  for contender in "${contenders[@]:first}" "${contenders[@]:0:first}"; do
    begin=$(milliseconds)
    result=$work/results/$contender.$round
    rm -rf state served
    mkdir -p "$XDG_DATA_HOME/layerboot/kernels" "$XDG_RUNTIME_DIR"
    cp -r "$kernels/debian" "$XDG_DATA_HOME/layerboot/kernels/"
    if prepare "$contender" && start_daemon "$contender"; then run_vm "$contender"; fi
    put load "$(cut -d' ' -f1 /proc/loadavg)"
    put seconds $((($(milliseconds) - begin) / 1000))
    say "round $round of $rounds: $contender took $((($(milliseconds) - begin) / 1000)) s"
    stop_all
    rm -rf state served bundle
  done
  # Each time, so that a run that is given up leaves what it had.
  report
done
say "written: $output/VM-RESULTS.md and $output/vm-results.svg"
