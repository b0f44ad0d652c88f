#!/bin/bash
# What `layerboot commit` costs beside compressing the same by itself, and beside umoci's repack; writes COMMIT-RESULTS.md.
#   run_commit.sh BUILD_DIR IMAGE [--files "10 1000 100000"] [--bytes 2000000000] [--rounds N] [--work DIR] [--output DIR]
# The files are cut out of IMAGE, as one tar. Needs root, as umoci does to give files their owners.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
readonly here
build=$(realpath "${1:?the build directory}")
image=${2:?an image out of whose files those are cut that are written}
shift 2
sizes="10 1000 100000" bytes=2000000000 rounds=3 work=${XDG_CACHE_HOME:-$HOME/.cache}/layerboot-bench output=$here
while [ $# -gt 0 ]; do
  case $1 in
    --files) sizes=$2 ;;
    --bytes) bytes=$2 ;;
    --rounds) rounds=$2 ;;
    --work) work=$2 ;;
    --output) output=$2 ;;
    *) echo "bench: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
readonly file_bytes=4096 files_a_directory=1000 large_files=8
readonly layerboot=$build/launcher/layerboot oci_mount=$build/oci-mount/mount/oci-mount
cores=$(nproc)
mkdir -p "$work"
work=$(realpath "$work")/commit
rm -rf "$work"
mkdir -p "$work"
first=()
if chrt -f 1 true 2> /dev/null; then first=(chrt -f 1); fi
# umoci goes by the same layout as the store's, so that nobody has to copy the image below.
readonly data=$work/data/layerboot
readonly store=$data/store vm=$data/vms/bench
export XDG_DATA_HOME=$work/data XDG_CACHE_HOME=$work/cache XDG_RUNTIME_DIR=$work/run

mount_pid=
clean_up() {
  [ -z "$mount_pid" ] || kill "$mount_pid" 2> /dev/null || true
  wait
  rm -rf "$work"
}
trap clean_up EXIT
say() { printf 'bench: %s\n' "$*" >&2; }

"$oci_mount" -q tar "$image" > "$work/stream"
endless() { # FROM: the same bytes over and over, from there on
  tail -c "+$1" "$work/stream"
  while cat "$work/stream"; do :; done
}
# make_files COUNT BYTES-OF-EACH DIRECTORY FROM
make_files() (
  set +o pipefail # who writes endlessly ends by SIGPIPE
  endless "$4" 2> /dev/null | for ((done = 0; done < $1; done += files_a_directory)); do
    mkdir -p "$3/d$done"
    count=$(($1 - done < files_a_directory ? $1 - done : files_a_directory))
    head -c $((count * $2)) | (cd "$3/d$done" && split -b "$2" -a 4 -d - f)
  done
)
make_base() { # DIRECTORY: its files are the image below
  mkdir -p "$data"
  umoci init --layout "$store"
  umoci new --image "$store:base"
  tar -c -C "$1" . > "$work/base.tar"
  umoci raw add-layer --image "$store:base" "$work/base.tar"
  rm "$work/base.tar"
}
write_upper() { # DIRECTORY: a VM on the image below has written its files
  mkdir -p "$vm" "$work/mnt"
  printf '{"image":"oci:%s:base","machine_id":"0123456789abcdef0123456789abcdef","name":"bench","quota_bytes":8000000000,"run":{},"version":1}' \
    "$store" > "$vm/config.json"
  mkfifo "$work/ready"
  "$oci_mount" -q --index-dir "$XDG_CACHE_HOME/layerboot/index" mount -f --upper "$vm/disk" --quota 8G --ready-fd 3 "oci:$store:base" "$work/mnt" 3> "$work/ready" &
  mount_pid=$!
  read -r _ < "$work/ready" || { say "the image below can't be mounted"; exit 1; }
  rm "$work/ready"
  cp -a "$1/." "$work/mnt/"
  kill "$mount_pid"
  wait "$mount_pid" || { say "what was written is not whole"; exit 1; }
  mount_pid=
}

# run NAME COMMAND…: a line of seconds, CPU seconds and KiB at most, in times.NAME. Each begins with the store and the indexes of the image below.
run() {
  local name=$1
  shift
  rm -rf "$store" "$XDG_CACHE_HOME" "$work/result"
  cp -a "$work/store.base" "$store"
  cp -a "$work/cache.base" "$XDG_CACHE_HOME"
  sync -f "$work"
  "${first[@]}" /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" > "$work/result" 2> "$work/error" || { cat "$work/error" >&2; say "$name failed"; exit 1; }
    size=$(stat -c %s "$work/result")
  [ "$size" -gt 1000 ] || size=$(newest_blob_bytes)
  awk -v size="$size" '{ print $1, $2 + $3, $4, size }' "$work/time" >> "$work/times.$name"
}
newest_blob_bytes() { # the layer's: the largest that the image below does not have
  diff -rq "$work/store.base/blobs/sha256" "$store/blobs/sha256" | sed -n "s|^Only in \($store.*\): |\1/|p" | xargs stat -c %s | sort -n | tail -1
}
readonly ways="commit commit-same commit-zstd pigz igzip tar-gzip umoci"
one_round() {
  run commit "$layerboot" commit -q --oci-mount "$oci_mount" bench new
  [ "$1" != 1 ] || check_layer
  run commit-same env SOURCE_DATE_EPOCH=1700000000 "$layerboot" commit -q --oci-mount "$oci_mount" bench new
  run commit-zstd "$layerboot" commit -q --oci-mount "$oci_mount" --compression zstd bench new
  run pigz pigz -6 -c -p "$cores" "$work/changed.tar"
  run igzip igzip -3 -c "$work/changed.tar"
  run tar-gzip sh -c "tar -c -C '$work/changed' . | gzip"
  run umoci umoci repack --image "$store:new" "$work/bundle"
}
check_layer() { # what was committed is what was written
  "$oci_mount" -q tar new | tar -d -f - -C "$work/changed" > "$work/error" || { head -5 "$work/error" >&2; say "the committed image is another one"; exit 1; }
}
# shellcheck disable=SC2016 # Markdown's own quotes
what() {
  case $1 in
    commit) echo '`layerboot commit`' ;;
    commit-same) echo 'the same, with SOURCE_DATE_EPOCH' ;;
    commit-zstd) echo 'the same, `--compression zstd`' ;;
    pigz) echo "compressing alone: \`pigz -6 -p $cores\` of the ready tar" ;;
    igzip) echo 'the same, `igzip -3`, on one core' ;;
    tar-gzip) echo '`tar \| gzip`' ;;
    umoci) echo '`umoci repack`' ;;
  esac
}
best() { sort -g "$work/times.$1" | head -1; }
rows() { # TITLE: of the rounds that have been
  local way name seconds cpu kib size ours
  read -r ours _ < <(best commit)
  name=$1
  for way in $ways; do
    read -r seconds cpu kib size < <(best "$way")
    printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$name" "$(what "$way")" "$seconds" \
      "$(awk -v s="$seconds" -v o="$ours" 'BEGIN { printf "%.2f×", s / o }')" "$cpu" \
      "$(awk -v s="$seconds" -v c="$cpu" 'BEGIN { printf "%.1f", c / (s > 0 ? s : 0.01) }')" "$((kib / 1024))" \
      "$(awk -v b="$size" 'BEGIN { printf b < 1e6 ? "%.3f" : "%.1f", b / 1e6 }')"
    name=
  done
}
# measure TITLE COUNT BYTES-OF-EACH BYTES-OF-EACH-BEFORE
measure() {
  say "$1"
  rm -rf "${work:?}"/*/ "$work"/times.*
  make_files "$2" "$4" "$work/before" 1000001
  make_files "$2" "$3" "$work/changed" 1
  make_base "$work/before"
  write_upper "$work/changed"
  umoci unpack --image "$store:base" "$work/bundle" > /dev/null
  cp -a "$work/changed/." "$work/bundle/rootfs/"
  tar -c -C "$work/changed" . > "$work/changed.tar"
  cp -a "$store" "$work/store.base"
  cp -a "$XDG_CACHE_HOME" "$work/cache.base"
  local round
  for ((round = 1; round <= rounds; round++)); do one_round "$round"; done
  rows "$1"
}

table=$(
  echo '| written | by | s | beside ours | CPU s | cores in use | memory at most, MiB | layer, MB |'
  echo '|---|---|---|---|---|---|---|---|'
  for count in $sizes; do measure "$count files of 4 KiB" "$count" $file_bytes $file_bytes; done
  measure "$(awk -v b="$bytes" 'BEGIN { printf "%.1f", b / 1e9 }') GB in $large_files files" $large_files $((bytes / large_files)) 1
)
{
  cat << TEXT
# What a commit costs

Written by \`./dev bench commit\`. Commit $(git -C "$here" rev-parse --short HEAD 2> /dev/null || echo unknown), $cores × $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)${first[*]:+, ahead of all other processes}.
A VM has changed files of its image, whose new content is cut out of the default image as a tar; all is in the page cache. The best of $rounds rounds, all in each. Over 1× beside ours is
slower than \`layerboot commit\`, which in its time has also hashed the layer twice, synced it, read it back, compared and indexed it for the next boot; by ISA-L, or, with SOURCE_DATE_EPOCH,
by zlib, whose bytes are the same on every machine. Memory is that of the largest process; umoci's repack finds what has changed by hashing the whole tree.

$table
TEXT
} > "$output/COMMIT-RESULTS.md"
say "written: $output/COMMIT-RESULTS.md"
