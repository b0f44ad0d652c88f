#!/bin/bash
# Measures vfsd against both virtiofsds, a null server and the machine's limits, in alternation; writes RESULTS.md and
# an SVG.
#   run_servers.sh BUILD_DIR [--quick] [--rounds N] [--work DIR] [--output DIR] [--servers "NAME …"]
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
readonly here
build=$(realpath "${1:?the build directory}")
shift
rounds=5 milliseconds=250 work=${XDG_CACHE_HOME:-$HOME/.cache}/layerboot-bench output=$here only=
while [ $# -gt 0 ]; do
  case $1 in
    --quick) rounds=2 milliseconds=100 ;;
    --rounds) rounds=$2; shift ;;
    --work) work=$2; shift ;;
    --output) output=$2; shift ;;
    --servers) only=$2; shift ;;
    *) echo "bench: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
say() { printf 'bench: %s\n' "$*" >&2; }
mkdir -p "$work"
kept=$(realpath "$work")
work=$kept/disk
# shellcheck source=bench/own_disk.sh
. "$here/own_disk.sh"
server_pid=
stop_server() {
  [ -n "$server_pid" ] || return 0
  kill "$server_pid" 2> /dev/null || true
  wait "$server_pid" 2> /dev/null || true
  server_pid=
}
end() {
  stop_server
  cd /
  drop_own_disk "$work"
}
trap end EXIT
own_disk "$work" 12G
mkdir -p "$output"
cd "$work"

# ---- the tree, and the image of it twice --------------------------------------------------------------------
[ -d tree/walk ] || "$build/bench/fuse_load" --make-tree "$work/tree"
digest() { sha256sum "$1" | cut -d' ' -f1; }
# add_blob LAYOUT FILE: prints "DIGEST SIZE"
add_blob() {
  local d
  d=$(digest "$2")
  cp "$2" "$1/blobs/sha256/$d"
  echo "$d $(stat -c %s "$2")"
}
# make_layout LAYOUT LAYER_FILE MEDIA_SUFFIX DIFF_ID
make_layout() {
  [ -f "$1/index.json" ] && return
  local vnd=application/vnd.oci.image d s
  rm -rf "$1" && mkdir -p "$1/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' > "$1/oci-layout"
  local layer config manifest
  read -r d s < <(add_blob "$1" "$2")
  layer="{\"mediaType\":\"$vnd.layer.v1.tar$3\",\"digest\":\"sha256:$d\",\"size\":$s}"
  printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$4" > document
  read -r d s < <(add_blob "$1" document)
  config="{\"mediaType\":\"$vnd.config.v1+json\",\"digest\":\"sha256:$d\",\"size\":$s}"
  manifest="$vnd.manifest.v1+json"
  printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' "$manifest" "$config" "$layer" > document
  read -r d s < <(add_blob "$1" document)
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
    "$manifest" "$d" "$s" > "$1/index.json"
}
[ -f layer.tar ] || tar -C tree --sort=name --owner=0 --group=0 --numeric-owner -cf layer.tar .
[ -f layer.tar.gz ] || gzip -6 -k layer.tar
[ -d empty ] || mkdir empty
[ -f empty.tar ] || tar -C empty --owner=0 --group=0 --numeric-owner -cf empty.tar .
make_layout image-gzip layer.tar.gz +gzip "$(digest layer.tar)"
make_layout image-plain layer.tar '' "$(digest layer.tar)"
make_layout image-upper empty.tar '' "$(digest empty.tar)"

# ---- the servers ----------------------------------------------------------------------------------------------
c_virtiofsd=/usr/lib/qemu/virtiofsd
servers=(null vfsd-gzip vfsd-gzip-epoll vfsd-plain vfsd-upper)
if [ -x $c_virtiofsd ]; then
  servers+=(virtiofsd-c)
else
  say "no $c_virtiofsd (package qemu-system-common of Debian 12): left out"
fi
rust=()
if "$here/fetch_rust_virtiofsd.sh" "$kept/rust" > rust.log 2>&1; then
  mapfile -t rust < "$kept/rust/command"
  servers+=(virtiofsd-rust)
else
  say "the Rust virtiofsd can't be had ($(tail -n 1 rust.log)): left out"
fi
[ -z "$only" ] || read -ra servers <<< "$only"

# Both ends share one core, so that neither the scheduler nor a second core's caches decide.
core=$(( $(nproc) - 1 ))
pin=(taskset -c "$core")
start_server() { # NAME QUEUES
  rm -rf socket served upper ready
  # Room for the whole file of the READs: the others have it in the page cache.
  local vfsd=("$build/vfsd/vfsd" --cache-size 256M --socket-path "$work/socket" --index-dir "$work/index" --upper "$work/upper"
    --quota 8G --once --quiet --request-queues "$2" --ready-fd 3)
  case $1 in
    null) command=("$build/bench/null_server" --socket-path "$work/socket") ;;
    vfsd-gzip) command=("${vfsd[@]}" --image "oci:$work/image-gzip:latest") ;;
    vfsd-gzip-epoll) command=("${vfsd[@]}" --image "oci:$work/image-gzip:latest" --io-engine epoll) ;;
    vfsd-plain) command=("${vfsd[@]}" --image "oci:$work/image-plain:latest") ;;
    vfsd-upper)
      command=("${vfsd[@]}" --image "oci:$work/image-upper:latest")
      # vfsd makes the upper and names its owner; then the tree goes in.
      "${command[@]}" > server.log 2>&1 3> ready &
      server_pid=$!
      for _ in $(seq 300); do [ ! -s ready ] || break; sleep 0.1; done
      stop_server
      rm -f ready
      cp -a tree/. upper/upper/ ;;
    virtiofsd-c)
      cp -a tree served
      command=("$c_virtiofsd" "--socket-path=$work/socket" -o "source=$work/served" -o xattr -o cache=always) ;;
    virtiofsd-rust)
      cp -a tree served
      command=("${rust[@]}" --socket-path "$work/socket" --shared-dir "$work/served" --xattr --cache always
        --sandbox none --log-level error) ;;
  esac
  "${pin[@]}" "${command[@]}" > server.log 2>&1 3> ready &
  server_pid=$!
  for _ in $(seq 300); do
    # vfsd says so itself, from a network namespace of its own; of others the socket must be listened on.
    if [ -s ready ]; then return 0; fi
    if [[ $1 != vfsd-* ]] && [ -S socket ] && grep -q " $work/socket\$" /proc/net/unix; then sleep 0.2; return 0; fi
    kill -0 "$server_pid" 2> /dev/null || break
    sleep 0.1
  done
  say "$1 did not start: $(tail -n 1 server.log)"
  return 1
}

# Of what is measured; whoever is at work there may commit meanwhile.
commit=$(git -C "$here" rev-parse --short HEAD 2> /dev/null || echo unknown)
rm -rf results && mkdir results
for round in $(seq "$rounds"); do
  order=(limits "${servers[@]}")
  [ -z "$only" ] || order=("${servers[@]}")
  for server in "${order[@]}"; do
    say "round $round of $rounds: $server"
    if [ "$server" = limits ]; then
      "${pin[@]}" "$build/bench/limits" --tree tree --milliseconds "$milliseconds" \
        --json "results/$server.1.$round.json" > /dev/null
      continue
    fi
    for queues in 1 4; do
      # Both peers have one request queue.
      if [ "$queues" = 4 ]; then [ "$server" = vfsd-gzip ] || continue; fi
      start_server "$server" "$queues" || continue
      verify=()
      [ "$server" != null ] || verify=(--no-verify)
      "${pin[@]}" "$build/bench/fuse_load" --socket socket --pid "$server_pid" --name "$server" --writable "${verify[@]}" \
        --queues "$queues" --milliseconds "$milliseconds" --json "results/$server.$queues.$round.json" > load.log 2>&1 ||
        say "$server: $(tail -n 1 load.log)"
      stop_server
    done
  done
  [ -z "$only" ] || continue
  # What a second queue brings, on two cores.
  say "round $round of $rounds: two queues"
  "$build/bench/limits" --threads --tree tree --milliseconds "$milliseconds" --json "results/limits.2.$round.json" > /dev/null
  for queues in 1 2; do
    cores=("${pin[@]}") pin=()
    start_server vfsd-gzip "$queues" &&
      { "$build/bench/fuse_load" --socket socket --pid "$server_pid" --name vfsd-two-cores --writable --queues "$queues" \
          --only getattr read-4k create-write-unlink --depths 8 32 --milliseconds "$milliseconds" \
          --json "results/vfsd-two-cores.$queues.$round.json" > load.log 2>&1 || say "two queues: $(tail -n 1 load.log)"; }
    stop_server
    pin=("${cores[@]}")
  done
done
rm -rf served upper

"$build/bench/bench_report" --results results --output "$output" --commit "$commit" --rounds "$rounds"
say "written: $output/RESULTS.md and $output/results.svg"
