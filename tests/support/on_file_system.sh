#!/bin/sh
# on_file_system.sh KIND PROGRAM [ARGUMENT…]: runs a test program whose temporary directories are on a file system of that kind
# (ext4, xfs, btrfs: in a file that is mounted; or tmpfs), where this machine mounts one.
set -eu
kind=$1
shift
if [ "$(id -u)" != 0 ]; then
  echo "skipped: mounting needs root"
  exit 77
fi
place=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
mounted=no
leave() {
  # A loop device that the program has let go of holds its file until the kernel has come to it.
  tries=0
  while [ $mounted = yes ]; do
    if said=$(umount "$place/disk" 2>&1); then
      mounted=no
    elif [ $((tries += 1)) = 100 ]; then
      echo "$said" >&2
      exit 1
    else
      sleep 0.1
    fi
  done
  rm -rf "$place"
}
trap leave EXIT
chmod 755 "$place"
mkdir "$place/disk"
if [ "$kind" = tmpfs ]; then
  mount -t tmpfs -o size=4g none "$place/disk"
else
  if ! command -v "mkfs.$kind" > /dev/null; then
    echo "skipped: there is no mkfs.$kind"
    exit 77
  fi
  truncate -s 6G "$place/image"
  case $kind in
    ext4) mkfs.ext4 -q -F "$place/image" ;;
    *) "mkfs.$kind" -q -f "$place/image" ;;
  esac
  if ! mount -o loop "$place/image" "$place/disk"; then
    echo "skipped: this machine does not mount $kind"
    exit 77
  fi
fi
mounted=yes
# As /var/tmp is.
chmod 1777 "$place/disk"
# Beside this shell, so that who ends it ends the program first, and nothing stays mounted.
TMPDIR="$place/disk" "$@" &
program=$!
trap 'kill "$program" 2> /dev/null; wait "$program"; exit 143' TERM INT
wait "$program"
