#!/bin/bash
# Installs the Debian packages that building, running and testing need.
#   setup.sh [--if-missing]   with --if-missing says nothing when all is there
set -euo pipefail

readonly build_packages="g++ cmake ninja-build pkg-config liburing-dev libfuse3-dev nlohmann-json3-dev libcli11-dev
  libboost-dev libcap-dev zlib1g-dev libisal-dev libzstd-dev libssl-dev libxxhash-dev libseccomp-dev libgtest-dev
  libbenchmark-dev"
readonly run_packages="qemu-system-x86 passt qemu-system-common qemu-utils e2fsprogs e2fsck-static fuse3 kmod cpio xz-utils zstd busybox-static apt dpkg"
readonly image_packages="mmdebstrap umoci debian-archive-keyring"
readonly test_packages="libvirt-daemon-system libvirt-clients systemd-container
  docker-registry dpkg-dev skopeo expect openssh-client attr jq pigz isal containerd valgrind xfsprogs btrfs-progs"

say() { printf 'setup: %s\n' "$*" >&2; }

missing=()
for package in $build_packages $run_packages $image_packages $test_packages ${DEV_EXTRA_PACKAGES:-}; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
  [ "${1:-}" = --if-missing ] || say "everything is installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || {
    say "these packages are missing, and there is no sudo to install them with: ${missing[*]}"
    exit 1
  }
  as_root=(sudo)
fi
say "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 </dev/null
