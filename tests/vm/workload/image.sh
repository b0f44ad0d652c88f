#!/bin/bash
# Builds the image of the workload test: the default image, and on it one layer with tools (git, sqlite3, gcc, make),
# a folder of packages that the guest's apt installs from, a tree to unpack, and the workload itself.
#
#   image.sh BASE_LAYOUT FSX OUT
#
# Packages come through this machine's own apt configuration. A finished OUT of the same base and workload is kept.
set -euo pipefail

readonly tools="git sqlite3 gcc libc6-dev make attr"
readonly guest_packages="python3-minimal vim"
readonly tree_files=4000 # the kernel has some 80,000: a twentieth

here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
base=$1 fsx=$2 out=$3
stamp=$(cat "$base/index.json" "$here/image.sh" "$here/guest.sh" "$fsx" | sha256sum | cut -d' ' -f1)
[ "$(cat "$out/stamp" 2> /dev/null)" != "$stamp" ] || exit 0

say() { printf 'workload image: %s\n' "$*" >&2; }
[ "$(id -u)" = 0 ] || { say "needs root"; exit 1; }
for tool in umoci skopeo dpkg-scanpackages; do
  command -v $tool > /dev/null || { say "$tool is missing: run ./dev setup"; exit 1; }
done

work=$(mktemp -d "$out.building-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
skopeo copy -q "oci:$base:latest" "oci:$work/layout:latest"
umoci unpack --image "$work/layout:latest" "$work/bundle" > /dev/null
root=$work/bundle/rootfs

# fetch FOLDER PACKAGE...: what these and all they depend on lack in the image.
fetch() {
  mkdir -p "$1/partial"
  apt-get -o Dir::State::status="$root/var/lib/dpkg/status" -o Dir::State::extended_states=/dev/null \
    -o Dir::Cache::archives="$1" -o Debug::NoLocking=1 -o APT::Install-Recommends=false -o APT::Sandbox::User=root \
    -qq -y --download-only install "${@:2}" > "$work/apt.log" 2>&1 < /dev/null || { cat "$work/apt.log" >&2; exit 1; }
  rm -r "$1/partial"
}

say "fetching packages"
# shellcheck disable=SC2086 # lists of words
fetch "$root/srv/tools" $tools
DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c 'dpkg -i /srv/tools/*.deb' > "$work/dpkg.log" 2>&1 ||
  { cat "$work/dpkg.log" >&2; exit 1; }
rm -r "$root/srv/tools"
# shellcheck disable=SC2086
fetch "$root/srv/packages" $guest_packages
(cd "$root/srv/packages" && rm -f lock && dpkg-scanpackages -m . > Packages 2> "$work/scan.log")
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
echo "deb [trusted=yes] file:/srv/packages ./" > "$root/etc/apt/sources.list.d/workload.list"
echo "$guest_packages" > "$root/srv/guest_packages"

say "making a tree of $tree_files files"
mkdir "$work/tree"
awk -v files=$tree_files -v top="$work/tree" 'BEGIN {
  srand(20); for (i = 0; i < files; ++i) {
    if (i % 20 == 0) { dir = sprintf("%s/d%02d/sub%d/leaf%d", top, i % 32, int(i / 400), int(i / 20)); system("mkdir -p " dir) }
    name = sprintf("%s/file_%d.c", dir, i); lines = int(rand() * rand() * 400)
    for (l = 0; l <= lines; ++l) printf "static int value_%d_%d = %d;\n", i, l, int(rand() * 1e9) > name
    close(name) } }'
(cd "$work/tree" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > "$root/srv/tree.sums"
tar -C "$work/tree" -cf "$root/srv/tree.tar" .

install -m 0755 "$here/guest.sh" "$fsx" "$root/srv/"
cat > "$root/etc/systemd/system/workload.service" << 'END'
[Unit]
Description=Workload test
ConditionKernelCommandLine=layerboot.workload
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/srv/guest.sh
ExecStopPost=/usr/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
TimeoutStartSec=infinity
Environment=HOME=/root

[Install]
WantedBy=multi-user.target
END
ln -s ../workload.service "$root/etc/systemd/system/multi-user.target.wants/workload.service"

say "packing the layer"
umoci repack --image "$work/layout:latest" "$work/bundle" > /dev/null
umoci gc --layout "$work/layout" > /dev/null
echo "$stamp" > "$work/layout/stamp"
rm -rf "$out"
mv -T "$work/layout" "$out"
say "done: $(du -sh "$out" | cut -f1)"
