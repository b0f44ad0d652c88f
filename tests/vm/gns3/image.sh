#!/bin/bash
# Builds an image as those for qemu-minivm are, as an OCI layout: busybox, no init, but a script for the console and one for the power
# button.
#   image.sh OUT_DIR
set -euo pipefail
out=$1
busybox=
for place in /bin/busybox /usr/bin/busybox; do
  [ ! -x "$place" ] || ldd "$place" > /dev/null 2>&1 || busybox=$place
done
[ -n "$busybox" ] || { echo "SKIPPED: no static busybox on this machine: apt-get install busybox-static"; exit 77; }
work=$(mktemp -d "$out.building-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,etc/acpi/PWRF,dev,proc,sys,run,tmp,root}
cp "$busybox" "$root/bin/busybox"
for applet in sh mount umount poweroff hostname cat echo sleep ps ls ip ping getty login grep sync stty; do
  ln -s busybox "$root/bin/$applet"
done
echo 'root::0:0:root:/root:/bin/sh' > "$root/etc/passwd"
printf '%s\n' '#!/bin/sh' 'while :; do getty -L 115200 ttyS0 vt100; sleep 1; done' > "$root/etc/init.sh"
printf '%s\n' '#!/bin/sh' 'echo pressed > /pressed' 'poweroff' > "$root/etc/acpi/PWRF/00000080"
chmod 755 "$root/etc/init.sh" "$root/etc/acpi/PWRF/00000080"
umoci init --layout "$out"
umoci new --image "$out:latest"
tar -C "$root" --numeric-owner --owner=0 --group=0 -cf "$work/layer.tar" .
umoci raw add-layer --image "$out:latest" "$work/layer.tar"
umoci config --image "$out:latest" --config.cmd /bin/sh --architecture amd64 --os linux --config.env PATH=/usr/bin:/bin
