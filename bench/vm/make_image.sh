#!/bin/bash
# Adds to the default image a layer with the tools and the data of the guest's jobs.
#   make_image.sh IMAGE_LAYOUT OUT_LAYOUT      needs root; a finished OUT_LAYOUT is kept
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
in=$1 out=$(realpath -m "$2")
[ ! -e "$out/index.json" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "bench: the image is made as root" >&2; exit 1; }
# The mounts below go with this namespace, however it ends.
if [ -z "${LAYERBOOT_BENCH_NAMESPACE:-}" ]; then
  export LAYERBOOT_BENCH_NAMESPACE=1
  exec unshare --mount --propagation private "$0" "$@"
fi
work=$(mktemp -d "$out.building-XXXXXX")
end() {
  umount -q --lazy "$work/bundle/rootfs/proc" "$work/bundle/rootfs/dev" || true
  rm -rf --one-file-system "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp -r "$in" "$work/layout"
umoci unpack --image "$work/layout:latest" "$work/bundle"
root=$work/bundle/rootfs
# fetch DIRECTORY PACKAGE…: the packages the image lacks for these, by this machine's apt, which is not changed
fetch() {
  local directory=$1
  shift
  mkdir -p "$directory/partial"
  apt-get -qq -o Dir::State::status="$root/var/lib/dpkg/status" -o Dir::Cache::archives="$directory" \
    -o Debug::NoLocking=1 --download-only -y --no-install-recommends install "$@"
}
fetch "$work/debs" fio git gcc libc6-dev make sqlite3
mkdir "$root/debs"
cp "$work"/debs/*.deb "$root/debs/"
mount -t proc proc "$root/proc"
mount -t tmpfs dev "$root/dev"
for node in "null 3" "zero 5" "urandom 9"; do mknod -m 666 "$root/dev/${node% *}" c 1 "${node#* }"; done
DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c \
  'apt-get -qq -o APT::Sandbox::User=root -o DPkg::Options::=--force-unsafe-io install -y --no-install-recommends /debs/*.deb' \
  > "$work/dpkg.log" 2>&1 || { tail "$work/dpkg.log" >&2; exit 1; }
umount "$root/proc" "$root/dev"
rm -rf "$root/debs"
bench=$root/bench
mkdir -p "$bench/source"
fetch "$bench/debs" hello
rm -rf "$bench/debs/partial"
install -m 755 "$here/jobs.sh" "$bench/jobs.sh"
# 400 small files in 20 directories, in a repository of git's; three sources to compile; 30 transactions; what fio works on.
for i in $(seq 20); do
  mkdir -p "$work/tree/d$i"
  for j in $(seq 20); do head -c $((j * 300)) /usr/share/common-licenses/GPL-3 > "$work/tree/d$i/f$j"; done
done
repository() { HOME=$work git -C "$work/tree" "$@"; }
repository init -q --template=
repository add -A
repository -c user.name=b -c user.email=b@b commit -qm all
repository repack -qad
tar -C "$work" --owner=0 --group=0 -cf "$bench/tree.tar" tree
head -c 16M /dev/urandom > "$bench/random"
objects=
for i in $(seq 3); do
  printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int n) { char b[64]; snprintf(b, sizeof b, "%%d", n); return atoi(b) + (int)strlen(b); }\n' "$i" > "$bench/source/f$i.c"
  objects+=" f$i.o"
done
printf 'all: lib.a\nlib.a:%s\n\tar rcs $@ $^\n%%.o: %%.c\n\tgcc -O1 -c -o $@ $<\nclean:\n\trm -f *.o *.a\n' "$objects" > "$bench/source/Makefile"
{
  echo 'create table t (id integer primary key, name text, value integer); create index i on t (value);'
  for i in $(seq 30); do echo "begin; insert into t (name, value) values ('name $i', $((i * 7919 % 1000))); insert into t (name, value) values ('more $i', $((i * 104729 % 1000))); commit;"; done
  echo 'select count(*), sum(value) from t where value > 500;'
} > "$bench/insert.sql"
printf '[Unit]\nDescription=The jobs of the comparison\nAfter=multi-user.target\n\n[Service]\nType=exec\nExecStart=/bench/jobs.sh\nTimeoutStopSec=5\n' > "$root/etc/systemd/system/bench.service"
# Wanted by nothing that multi-user waits for, so that it does not count as boot.
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
printf '[Unit]\nDescription=Starts the jobs\n\n[Timer]\nOnActiveSec=2s\n\n[Install]\nWantedBy=timers.target\n' > "$root/etc/systemd/system/bench.timer"
mkdir -p "$root/etc/systemd/system/timers.target.wants"
ln -sf ../bench.timer "$root/etc/systemd/system/timers.target.wants/bench.timer"
umoci repack --image "$work/layout:latest" "$work/bundle"
umoci gc --layout "$work/layout"
mv -T "$work/layout" "$out"
