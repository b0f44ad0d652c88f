#!/bin/bash
# Runs a command in a chroot of a Debian release, in a fresh clone of what is committed here: what a newcomer there meets.
#   on.sh SUITE [COMMAND…]     without COMMAND a shell
# The chroot is made by mmdebstrap from the place that this machine's apt has Debian from, and kept in build/on/SUITE; remove
# that to begin with nothing again. Its mounts are in a namespace of their own, and end with the command.
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
# shellcheck source=scripts/dev.d/common.sh
. "$root/scripts/dev.d/common.sh"

readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
suite=${1:?on.sh SUITE [COMMAND…]}
shift
[ $# != 0 ] || set -- bash
[ "$(id -u)" = 0 ] || die "a chroot of another release is made by root only"
command -v mmdebstrap > /dev/null || die "mmdebstrap is missing: run ./dev setup"
chroot=$root/build/on/$suite

# This machine's own sources with the other release's name; its security archive by its own address.
sources() {
  apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(LABEL) $(CODENAME) $(REPO_URI) $(COMPONENT)' |
    awk -v keyring="$keyring" -v suite="$suite" '
      $1 != "Packages" || $2 != "Debian" || $6 != "main" || $5 ~ /^cdrom:/ { next }
      $3 == "Debian" && $4 !~ /-/ && !main++ {
        print "deb [signed-by=" keyring "] " $5, suite, "main"
        print "deb [signed-by=" keyring "] " $5, suite "-updates main"
      }
      $3 == "Debian-Security" && !security++ { print "deb [signed-by=" keyring "] " $5, suite "-security main" }'
}

if [ ! -d "$chroot" ]; then
  list=$(sources)
  [ -n "$list" ] || die "this machine's apt has no package lists of Debian: add it to its sources and run apt-get update"
  mkdir -p "$root/build/on"
  rm -rf --one-file-system "$chroot.part"
  printf 'dev: making a chroot of Debian %s in %s\n' "$suite" "$chroot" >&2
  mmdebstrap --quiet --variant=important --include=ca-certificates,git "$suite" "$chroot.part" - <<< "$list"
  # Nothing that is installed there is to be started.
  printf '#!/bin/sh\nexit 101\n' > "$chroot.part/usr/sbin/policy-rc.d"
  chmod 755 "$chroot.part/usr/sbin/policy-rc.d"
  mv "$chroot.part" "$chroot"
fi
cp -L /etc/resolv.conf "$chroot/etc/resolv.conf"
rm -rf --one-file-system "$chroot/root/layerboot"
git clone --quiet --no-hardlinks "$root" "$chroot/root/layerboot"

# By pivot_root, since the kernel refuses a namespace to who is in a chroot; the old root is gone with the second mount.
# Not by exec: that shell is the first process there, and collects what others leave behind.
# shellcheck disable=SC2016 # for the inner shell
readonly enter='
  set -e
  mount --bind "$0" "$0"
  cd "$0"
  mount -t proc proc proc
  mount --rbind /sys sys
  mount --rbind /dev dev
  mount -t tmpfs run run
  mount -t tmpfs -o mode=1777 tmp tmp
  pivot_root . .
  umount -l .
  cd /root/layerboot
  env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" || exit'
exec unshare --mount --propagation private --pid --fork --kill-child sh -c "$enter" "$chroot" "$@"
