#!/bin/bash
# Builds an image for another architecture than this machine's, as an OCI layout with one gzip layer, tag `latest`:
#
#   image.sh command ARCH OUT_DIR PROGRAMS   busybox alone, out of PROGRAMS, where the launcher keeps what came with the kernel
#   image.sh systemd ARCH OUT_DIR            Debian with systemd
#
# None of that architecture's programs is run on this machine, so Debian's packages are unpacked and not configured: what their scripts
# would have made and a boot needs is made here. A finished OUT_DIR is kept. Exit 77, with a line that says why, where it can't be built.
set -euo pipefail

skip() { echo "SKIPPED: $*"; exit 77; }
kind=$1 architecture=$2 out=$(realpath -m -- "$3") programs=${4:-}
stamp=$(sha256sum < "$0" | cut -c1-16)-$architecture
if [ -e "$out/index.json" ] && [ "$(cat "$out/made-by" 2> /dev/null)" = "$stamp" ]; then exit 0; fi
for tool in umoci tar; do command -v "$tool" > /dev/null || skip "$tool is not installed: ./dev setup"; done
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.building-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 0755 "$work"
root=$work/root
mkdir "$root"

command=/bin/sh
case $kind in
  command)
    mkdir -p "$root"/{bin,etc,dev,proc,sys,run,tmp}
    cp "$programs/busybox" "$root/bin/busybox"
    for applet in sh cat echo uname nproc date head grep; do ln -s busybox "$root/bin/$applet"; done
    ;;
  systemd)
    command=/sbin/init
    [ "$(id -u)" = 0 ] || skip "building the image needs root"
    command -v mmdebstrap > /dev/null || skip "mmdebstrap is not installed: ./dev setup"
    release=bookworm
    [ "$architecture" != riscv64 ] || release=trixie
    mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(CODENAME) $(REPO_URI)' |
      awk '$1 == "Packages" && $2 == "Debian" && $3 == "bookworm" && $4 ~ /^http/ { print $4; exit }')
    [ -n "$mirror" ] || skip "this machine's apt has no mirror of Debian"
    mmdebstrap --quiet --mode=root --variant=extract --architectures="$architecture" \
      --include=base-passwd,base-files,bash,coreutils,login,mount,util-linux,libc-bin,sed,grep,dash,systemd,systemd-sysv,dbus,udev,kmod,iproute2 \
      "$release" "$root" "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" > "$work/log" 2>&1 ||
      { tail -5 "$work/log"; skip "$mirror does not give a Debian $release for $architecture"; }
    cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
    cp "$root/usr/share/base-files/nsswitch.conf" "$root/etc/nsswitch.conf" 2> /dev/null || true
    cut -d: -f1 "$root/etc/passwd" | sed 's/$/:*:19000:0:99999:7:::/' > "$root/etc/shadow"
    chmod 0640 "$root/etc/shadow"
    for kind_of in auth account session password; do
      echo "$kind_of required pam_permit.so" > "$root/etc/pam.d/common-$kind_of"
    done
    cp "$root/etc/pam.d/common-session" "$root/etc/pam.d/common-session-noninteractive"
    ln -sf /lib/systemd/system/systemd-networkd.service "$root/etc/systemd/system/dbus-org.freedesktop.network1.service"
    : > "$root/etc/machine-id"
    [ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
    ;;
esac

layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:latest"
tar -C "$root" --numeric-owner -cf "$work/layer.tar" .
umoci raw add-layer --image "$layout:latest" "$work/layer.tar"
umoci config --image "$layout:latest" --config.cmd "$command" --architecture "$architecture" --os linux \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umoci gc --layout "$layout" > /dev/null
echo "$stamp" > "$layout/made-by"
rm -rf --one-file-system "$out"
mv -T "$layout" "$out"
