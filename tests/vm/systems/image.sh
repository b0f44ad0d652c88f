#!/bin/bash
# Builds one of the systems that are booted beside the default image, as an OCI layout with one gzip layer, tag `latest`:
#
#   image.sh NAME OUT_DIR
#
#   trixie    Debian 13 with systemd and sshd
#   bullseye  Debian 11 with systemd
#   testing   what is to be the next Debian, with systemd
#   sysvinit  Debian 12 with sysvinit and ifupdown, and no systemd
#   openrc    Debian 12 with OpenRC and its own init, which has no inittab
#   runit     Debian 12 with runit as its init
#   udevless  Debian 12 with systemd and no udev, as containers have it
#   managers  Debian 12 with NetworkManager, and ifupdown beside it
#   busybox   nothing but a static busybox, which is its init as well
#   odd       Debian 12 laid out as Fedora and Arch are: dbus-broker in dbus-daemon's place, an uninitialized machine-id,
#             SELinux labels in the layer
#
# Packages come from the mirror that this machine's apt uses. A finished OUT_DIR is kept and not built again; an
# unfinished one never has the name. Exit 77, with a line that says why, where this machine cannot build it.
set -euo pipefail

readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
skip() { echo "SKIPPED: $*"; exit 77; }

[ $# = 2 ] || { echo "usage: image.sh NAME OUT_DIR" >&2; exit 1; }
name=$1 out=$(realpath -m -- "$2")
# What this script makes of the name: another one makes another image.
stamp=$(sha256sum < "$0" | cut -c1-16)
if [ -e "$out/index.json" ] && [ "$(cat "$out/made-by" 2> /dev/null)" = "$stamp" ]; then exit 0; fi
[ "$(id -u)" = 0 ] || skip "building the image $name needs root"
for tool in mmdebstrap umoci tar; do command -v "$tool" > /dev/null || skip "$tool is not installed: ./dev setup"; done

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.building-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 0755 "$work"

# debian SUITE PACKAGE,…: a root file system of those packages, in $work/root
debian() {
  local mirror
  mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(CODENAME) $(REPO_URI)' |
    awk '$1 == "Packages" && $2 == "Debian" && $3 == "bookworm" && $4 ~ /^http/ { print $4; exit }')
  [ -n "$mirror" ] || skip "this machine's apt has no mirror of Debian"
  echo "building $name from $mirror (a few minutes)" >&2
  # Of testing a mirror may have lists of some weeks ago.
  mmdebstrap --quiet --mode=root --variant=minbase --include="$2" --skip=cleanup/reproducible "$1" "$work/root" \
    "deb [signed-by=$keyring check-valid-until=no] $mirror $1 main" > "$work/log" 2>&1 ||
    { tail -5 "$work/log"; skip "$mirror does not give a Debian $1"; }
  : > "$work/root/etc/machine-id"
  rm -f "$work/root/etc/resolv.conf"
}

command=/sbin/init
tar_options=()
mkdir "$work/root"
case $name in
  trixie) debian trixie systemd,systemd-sysv,dbus,udev,login,passwd,procps,iproute2,openssh-server ;;
  bullseye | testing) debian "$name" systemd,systemd-sysv,dbus,udev,login,passwd,procps,iproute2 ;;
  sysvinit)
    debian bookworm sysvinit-core,initscripts,login,procps,iproute2,ifupdown,isc-dhcp-client
    printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n' > "$work/root/etc/network/interfaces"
    ;;
  openrc)
    debian bookworm openrc,login,procps,iproute2
    command=/sbin/openrc-init
    ;;
  runit) debian bookworm runit-init,initscripts,login,passwd,procps,iproute2 ;;
  managers) debian bookworm systemd,systemd-sysv,dbus,udev,login,passwd,procps,iproute2,network-manager,ifupdown,isc-dhcp-client ;;
  udevless) debian bookworm systemd,systemd-sysv,dbus,login,passwd,procps,iproute2 ;;
  busybox)
    busybox=
    for place in /bin/busybox /usr/bin/busybox; do
      [ ! -x "$place" ] || ldd "$place" > /dev/null 2>&1 || busybox=$place
    done
    [ -n "$busybox" ] || skip "no static busybox on this machine: apt-get install busybox-static"
    mkdir -p "$work"/root/{bin,sbin,etc,dev,proc,sys,run,tmp}
    cp "$busybox" "$work/root/bin/busybox"
    for applet in sh mount umount poweroff reboot halt hostname cat echo sleep ps id touch; do
      ln -s busybox "$work/root/bin/$applet"
    done
    ln -s ../bin/busybox "$work/root/sbin/init"
    # An init that leaves a mark when it is shut down in order.
    printf '%s\n' '::sysinit:/bin/touch /started' '::shutdown:/bin/touch /ended-in-order' > "$work/root/etc/inittab"
    ;;
  odd)
    command -v setfattr > /dev/null || skip "setfattr is not installed: ./dev setup"
    debian bookworm systemd,systemd-sysv,dbus-broker,udev,login,passwd,procps,iproute2,attr
    echo uninitialized > "$work/root/etc/machine-id"
    rm -f "$work/root/usr/bin/dbus-daemon"
    ln -sf /usr/lib/systemd/system/dbus-broker.service "$work/root/etc/systemd/system/dbus.service"
    find "$work/root/etc" "$work/root/usr/bin" -exec setfattr -h -n security.selinux -v system_u:object_r:etc_t:s0 {} +
    tar_options=(--xattrs '--xattrs-include=security.selinux')
    ;;
  *) echo "no such system: $name" >&2; exit 1 ;;
esac

layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:latest"
tar -C "$work/root" --numeric-owner "${tar_options[@]}" -cf "$work/layer.tar" .
umoci raw add-layer --image "$layout:latest" "$work/layer.tar"
umoci config --image "$layout:latest" --config.cmd "$command" --architecture amd64 --os linux \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umoci gc --layout "$layout" > /dev/null
echo "$stamp" > "$layout/made-by"
rm -rf --one-file-system "$out"
mv -T "$layout" "$out"
