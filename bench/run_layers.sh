#!/bin/bash
# Measures the layer store and writes LAYER-RESULTS.md: run_layers.sh BUILD_DIRECTORY IMAGE
set -euo pipefail
here=$(dirname "$(realpath "$0")")
build=$1
image=$2
results="$here/LAYER-RESULTS.md"

# Other work on the machine must not decide: ahead of it where that is allowed.
first=()
if chrt -f 1 true 2>/dev/null; then first=(chrt -f 1); fi
priority=${first[*]:+, ahead of all other processes (\`${first[*]}\`)}
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
"${first[@]}" "$build/bench/layer_store" --oci-mount "$build/oci-mount/mount/oci-mount" "$image" | tee "$rows"
{
  printf '# The layer store beside its goals\n\n'
  printf 'Written by `./dev bench layers`. Commit %s, %s × %s%s.\n' \
    "$(git -C "$here" rev-parse --short HEAD)" "$(nproc)" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$priority"
  printf 'The best of several rounds; blobs are in the page cache. The first rows are of the largest gzip layer of the default image.\n\n'
  cat "$rows"
} > "$results.new"
mv "$results.new" "$results"
