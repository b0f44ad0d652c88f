#!/bin/bash
# The half of image.sh that runs inside the tree's owner namespace, as an mmdebstrap hook.
#
#   image_layers.sh ROOT KIND PACKAGE...
#
# Leaves the image's three layers as tars in ROOT/layers. It is root there, so owners and modes are the image's own.
set -euo pipefail

umask 022
root=$(realpath -e -- "$1")
kind=$2
shift 2
packages=("$@")
[ "$root" != / ] && [ -n "${MMDEBSTRAP_APT_CONFIG:-}" ] || { echo "image_layers.sh: for image.sh only" >&2; exit 1; }

# One line for each path that belongs to the image: what a layer could record of it, and ctime, which no package can set back.
list_tree() {
  (cd "$root" && find . -mindepth 1 \( -path ./layers -o -path ./proc -o -path ./sys -o -path ./dev \
    -o -path ./run/\* -o -path ./tmp/\* -o -path ./usr/sbin/policy-rc.d -o -path ./etc/apt/apt.conf.d/00mmdebstrap \) -prune -o -printf '%P\t%y %m %U %G %s %C@ %l\n') | LC_ALL=C sort
}
# Paths are read as names, not as patterns; none of Debian's holds a newline.
pack() { tar -C "$1" --no-recursion --numeric-owner --xattrs --xattrs-include='*' -cf "$2" --verbatim-files-from -T -; }
# The configuration names the tree's package lists only: without the chroot directory dpkg would work on the host.
run_apt() {
  APT_CONFIG=$MMDEBSTRAP_APT_CONFIG DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Chroot-Directory="$root" -o APT::Sandbox::User=root "$@"
}
tidy() {
  run_apt clean
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
  rm -f "$root"/var/cache/ldconfig/aux-cache "$root"/etc/resolv.conf
  : > "$root"/etc/machine-id  # empty: made at the first boot, which is then no "first boot" that asks questions
}

mkdir -m 0700 "$root/layers"
# mmdebstrap's stand-ins against started services: policy-rc.d stays until the end and is left out of the layers, the
# real start-stop-daemon goes back now.
if [ -e "$root/sbin/start-stop-daemon.REAL" ]; then
  mv -f "$root/sbin/start-stop-daemon.REAL" "$root/sbin/start-stop-daemon"
fi
[ -x "$root/usr/sbin/policy-rc.d" ]

echo "image: layer 1 of 3: the base" >&2
cp -a "$root/var/lib/apt/lists" "$root/layers/lists"
tidy
list_tree > "$root/layers/base.list"
cut -f1 "$root/layers/base.list" | pack "$root" "$root/layers/1.tar"
# Mounted over while packages are installed, so the empty directories are made apart.
mkdir "$root/layers/mount_points"
(cd "$root/layers/mount_points" && mkdir -m 0755 dev && mkdir -m 0555 proc sys)
tar -C "$root/layers/mount_points" --numeric-owner -rf "$root/layers/1.tar" dev proc sys

echo "image: layer 2 of 3: ${packages[*]}" >&2
cp -a "$root/layers/lists/." "$root/var/lib/apt/lists/"
run_apt --yes --no-install-recommends install "${packages[@]}" > "$root/layers/apt.log" 2>&1 ||
  { cat "$root/layers/apt.log" >&2; exit 1; }
tidy
list_tree > "$root/layers/full.list"
# Deleted since the base: a whiteout each, and nothing for what lay below a deleted directory.
mkdir "$root/layers/2"
cut -f1 "$root/layers/base.list" | LC_ALL=C sort > "$root/layers/base.paths"
cut -f1 "$root/layers/full.list" | LC_ALL=C sort > "$root/layers/full.paths"
LC_ALL=C comm -23 "$root/layers/base.paths" "$root/layers/full.paths" | while read -r path; do
  parent=$(dirname "$path")
  [ -d "$root/$parent" ] || continue
  mkdir -p "$root/layers/2/$parent"
  : > "$root/layers/2/$parent/.wh.$(basename "$path")"
done
LC_ALL=C comm -13 "$root/layers/base.list" "$root/layers/full.list" | cut -f1 | pack "$root" "$root/layers/2.tar"
(cd "$root/layers/2" && find . -type f -printf '%P\n') | LC_ALL=C sort > "$root/layers/whiteouts"
tar -C "$root/layers/2" --no-recursion --numeric-owner -rf "$root/layers/2.tar" -T "$root/layers/whiteouts"

echo "image: layer 3 of 3: configuration" >&2
layer=$root/layers/3
pack_configuration() { (cd "$layer" && find . -mindepth 1 -printf '%P\n') | LC_ALL=C sort | pack "$layer" "$root/layers/3.tar"; }
if [ "$kind" = programs ]; then
  # Where VMs are kept. For whoever the engine makes us: a user of any number, or root without its rights.
  mkdir -p "$layer/var/lib"
  mkdir -m 1777 "$layer/var/lib/layerboot"
  pack_configuration
  exit 0
fi
mkdir -p "$layer/etc/systemd/network" "$layer/etc/systemd/system/multi-user.target.wants" \
  "$layer/etc/update-motd.d" "$layer/var/log/apt"
echo layerboot > "$layer/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 layerboot\n::1 localhost ip6-localhost ip6-loopback\n' > "$layer/etc/hosts"
# Replaces files of the base.
release=$(sed -n 's/^VERSION_ID="\?\([^"]*\)"\?$/\1/p' "$root/etc/os-release")
printf 'Debian %s, booted from its container image. Log in as root; the password is empty.\n\\n \\l\n\n' "$release" > "$layer/etc/issue"
printf '\nThis root file system is served out of compressed image layers.\nWhat you write goes to this VM'"'"'s own upper directory on the host.\n\n' > "$layer/etc/motd"
sed 's/^root:[^:]*:/root::/' "$root/etc/shadow" > "$layer/etc/shadow"
chown --reference="$root/etc/shadow" "$layer/etc/shadow"
chmod 0640 "$layer/etc/shadow"
# Deletes one: the kernel's version line at login, which would say what the prompt says.
: > "$layer/etc/update-motd.d/.wh.10-uname"
# Opaque: the logs of the image's making are not the VM's. The journal's directory makes the journal persistent.
: > "$layer/var/log/.wh..wh..opq"
mkdir -m 2755 "$layer/var/log/journal"
chown "0:$(sed -n 's/^systemd-journal:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")" "$layer/var/log/journal"
# By name: veth pairs and bridges of a container engine are of that type too, and lose their bridge to networkd.
printf '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n' > "$layer/etc/systemd/network/80-ethernet-dhcp.network"
ln -s /lib/systemd/system/systemd-networkd.service \
  "$layer/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
if [ "$kind" = docker ]; then
  # Without a word of ours dockerd takes vfs where overlay2 fails, which copies every layer for every container.
  mkdir -p "$layer/etc/docker"
  printf '{"storage-driver": "overlay2"}\n' > "$layer/etc/docker/daemon.json"
fi
pack_configuration
