#!/bin/bash
# Boots an image as a plain systemd container: systemd-nspawn on oci-mount, what is written in a directory of its own.
#   container.sh IMAGE [--check]     --check: no console; the container is stopped when systemd says that it runs
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
# shellcheck source=scripts/dev.d/common.sh
. "$root/scripts/dev.d/common.sh"

readonly limit=300
readonly oci_mount=$programs/oci-mount/mount/oci-mount
image=${1:?container.sh IMAGE}
check=${2:-}
[ "$(id -u)" = 0 ] || die "run-container needs root: systemd-nspawn makes namespaces and device nodes (run-image and run-virtiofs do not)"
command -v systemd-nspawn > /dev/null || die "systemd-nspawn is missing: apt install systemd-container"
[ -c /dev/fuse ] || die "this machine has no /dev/fuse, by which the image is mounted"
unshare -m -p -f -n true 2> /dev/null || die "this machine lets no namespaces be made (is it a container itself?): systemd-nspawn can't work"
grep -q cgroup /proc/mounts || die "this machine has no control groups mounted, which systemd needs"

name=layerboot-$$
upper=$(data_dir)/containers/$(basename "${image//[:\/]/-}")
mkdir -p "$upper"
work=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-container-XXXXXX")
mkdir "$work/root"
nspawn_pid=
end() {
  if [ -n "$nspawn_pid" ]; then
    kill "$nspawn_pid" 2> /dev/null || true
    wait "$nspawn_pid" 2> /dev/null || true
  fi
  umount "$work/root" 2> /dev/null || true
  # --one-file-system: should the mount still be there, its files are not ours to remove.
  rm -rf --one-file-system "$work"
  # Where nothing was written there is nothing to keep.
  rmdir "$upper" 2> /dev/null || true
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# Other users than root live in there.
"$oci_mount" mount --allow-other --upper "$upper" "$image" "$work/root"
printf 'container: %s; what it writes is kept in %s\n' "$image" "$upper" >&2
# No machined to register with where no systemd runs this machine.
options=(--quiet --directory="$work/root" --boot --machine="$name" --register=no --keep-unit)
if [ "$check" != --check ]; then
  [ ! -t 0 ] || echo "container: Ctrl-] three times within a second ends it" >&2
  systemd-nspawn "${options[@]}"
  exit 0
fi
systemd-nspawn "${options[@]}" --console=read-only < /dev/null > "$work/log" 2>&1 &
nspawn_pid=$!
state=
for _ in $(seq $((limit * 5))); do
  init=$(cat /proc/$nspawn_pid/task/*/children 2> /dev/null || true)
  state=$(nsenter -a -t "${init%% *}" systemctl is-system-running 2> /dev/null || true)
  case $state in running | degraded) break ;; esac
  kill -0 $nspawn_pid 2> /dev/null || { cat "$work/log" >&2; die "the container ended before it had booted"; }
  sleep 0.2
done
echo "$state"
[ "$state" = running ] || die "the container is '$state', not running"
