#!/bin/bash
# Installs the Debian packages that building, running and testing need.
#   setup.sh [--if-missing] [--arch ARCH]…
# With --if-missing says nothing when all is there. With --arch arm64 or riscv64 also what building for such machines and emulating them
# needs.
set -euo pipefail

readonly build_packages="g++ cmake ninja-build pkg-config liburing-dev libfuse3-dev nlohmann-json3-dev libcli11-dev
  libboost-dev libcap-dev zlib1g-dev libisal-dev libzstd-dev liblzma-dev libbz2-dev libext2fs-dev comerr-dev libssl-dev libxxhash-dev libseccomp-dev libgtest-dev
  libbenchmark-dev"
readonly run_packages="qemu-system-x86 passt qemu-system-common qemu-utils e2fsprogs e2fsck-static fuse3 kmod cpio xz-utils zstd busybox-static apt dpkg"
readonly image_packages="mmdebstrap umoci debian-archive-keyring"
readonly test_packages="libvirt-daemon-system libvirt-clients systemd-container
  docker.io podman crun iproute2 python3-kubernetes python3-yaml buildah docker-registry dpkg-dev skopeo expect zsh fish openssh-client attr jq pigz isal containerd curl strace valgrind xfsprogs btrfs-progs"

# The client is a package of its own since Debian 13.
docker_client=
! grep -qx VERSION_CODENAME=trixie /etc/os-release || docker_client=docker-cli

say() { printf 'setup: %s\n' "$*" >&2; }

quietly=
foreign_packages=
while [ $# -gt 0 ]; do
  case $1 in
    --if-missing) quietly=1 ;;
    --arch)
      case ${2:-} in
        arm64) foreign_packages+=" g++-aarch64-linux-gnu qemu-system-arm" ;;
        riscv64) foreign_packages+=" g++-riscv64-linux-gnu qemu-system-misc opensbi" ;;
        *)
          say "--arch ${2:-}: there is arm64 and riscv64"
          exit 2
          ;;
      esac
      # For the programs of single guests (--binfmt).
      foreign_packages+=" qemu-user-static"
      shift
      ;;
    *)
      say "'$1' is not understood: setup.sh [--if-missing] [--arch ARCH]…"
      exit 2
      ;;
  esac
  shift
done

missing=()
for package in $build_packages $run_packages $image_packages $test_packages $docker_client $foreign_packages ${DEV_EXTRA_PACKAGES:-}; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
  [ -n "$quietly" ] || say "everything is installed"
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
# The next build looks for compilers again.
[ -z "$foreign_packages" ] || rm -f "$(dirname "$(realpath "$0")")"/../../build/*/build.ninja
