#!/bin/bash
# The most adapters that `export gns3` takes, by each kind of disk: QEMU has a PCI slot for each with the arguments that a GNS3 server
# makes (gns3server/compute/qemu/qemu_vm.py, _network_options and _disk_options), and for one more it has none.
#   gns3_slots_test.sh LAYERBOOT
set -euo pipefail
layerboot=$1
command -v qemu-system-x86_64 > /dev/null || { echo "SKIPPED: no qemu-system-x86_64"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/gns3-slots-XXXXXX")
trap 'rm -rf "$work"' EXIT
truncate -s 1M "$work/disk0" "$work/disk1"
fail() { echo "FAILED: $*"; exit 1; }

# machine INTERFACE ADAPTERS: whether QEMU makes such a one, which never runs.
machine() {
  local interface=$1 adapters=$2 disk bridges slot bridge made=0 place i arguments=(-net none)
  for i in 0 1; do
    disk="file=$work/disk$i,format=raw,index=$i,media=disk,id=drive$i"
    case $interface in
      virtio | ide) arguments+=(-drive "$disk,if=$interface") ;;
      sata) arguments+=(-device "ahci,id=ahci$i" -drive "$disk,if=none" -device "ide-hd,drive=drive$i,bus=ahci$i.0,id=disk$i") ;;
      scsi) arguments+=(-device "virtio-scsi-pci,id=scsi$i" -drive "$disk,if=none" -device "scsi-hd,drive=drive$i") ;;
    esac
  done
  bridges=$(((4 + adapters) / 32)) slot=$((4 + bridges))
  for ((i = 0; i < adapters; i++)); do
    bridge=$((slot / 32)) place=
    if [ $bridge -gt 0 ]; then
      [ $made -ge $bridge ] || arguments+=(-device "i82801b11-bridge,id=dmi_pci_bridge$bridge" -device
        "pci-bridge,id=pci-bridge$bridge,bus=dmi_pci_bridge$bridge,chassis_nr=0x1,addr=0x$bridge,shpc=off")
      made=$bridge place=",bus=pci-bridge$bridge,addr=$(printf 0x%02x $((slot % 32)))"
    fi
    arguments+=(-device "virtio-net-pci,mac=$(printf 0c:00:00:00:%02x:00 "$i")$place,romfile=")
    slot=$((slot + 1))
  done
  qemu-system-x86_64 -machine accel=tcg -m 64 -S -display none -serial none -monitor stdio "${arguments[@]}" \
    -device virtio-rng-pci <<< quit > "$work/said" 2>&1
}

for row in virtio:26 scsi:26 sata:26 ide:90; do
  interface=${row%:*} most=${row#*:}
  machine "$interface" "$most" || fail "$most adapters beside $interface: $(cat "$work/said")"
  ! machine "$interface" $((most + 1)) || fail "more than $most are possible beside $interface"
  status=0
  "$layerboot" export gns3 x -o "$work/out" --disk-interface "$interface" --adapters $((most + 1)) 2> "$work/err" || status=$?
  [ $status = 2 ] || fail "$((most + 1)) adapters beside $interface end with $status: $(cat "$work/err")"
done
[ ! -e "$work/out" ] || fail "what is refused has made its directory"
echo PASSED
