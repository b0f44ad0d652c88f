#!/bin/bash
# Programs for arm64 in this machine's own VM, by an interpreter that the VM layer brings: in an image run as a command, in one with
# systemd, and below another root, where the interpreter's path leads nowhere. The image itself is as it was.
#   binfmt_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
[ "$(uname -m)" != aarch64 ] || skip "arm64 is this machine's own architecture"
command -v qemu-aarch64-static > /dev/null || skip "no qemu-user-static on this machine: ./dev setup --arch arm64"
program=$build/guest-init/guest-init-arm64
[ -x "$program" ] || skip "guest-init-arm64 is not built: ./dev setup --arch arm64"

make_state_dir
make_home "$build"
# A program that says one line and ends with 1, wherever it is not a VM's first process.
mkdir "$state/there"
cp "$program" "$state/there/program"
ours="layerboot: this is a virtual machine's first process; run elsewhere it does nothing"
run() { layerboot run -q "oci:$LAYERBOOT_TEST_IMAGE:latest" --accel tcg -v "$state/there:/mnt:ro" "${programs[@]}" "$@"; }

run --name without -- /mnt/program < /dev/null > "$state/out" 2>&1 && fail "an arm64 program ended with 0"
grep -qF "$ours" "$state/out" && fail "this machine runs arm64 programs by itself"
said=$(run --name command --binfmt arm64 -- sh -c '/mnt/program 2>&1; echo $?; mkdir -p /else/dev; cp /mnt/program /else; chroot /else /program 2>&1; echo $?' < /dev/null) ||
  fail "the command ended with $?"
same "as a command" "$said" "$ours
1
$ours
1"

run -d --name fat --binfmt arm64
said=$(layerboot exec fat -- sh -c 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.5; done 2> /dev/null
  systemctl is-system-running; /mnt/program 2>&1; echo $?')
same "with systemd" "$said" "running
$ours
1"
layerboot stop fat --time 300 || fail "stop"
# What was committed has the other root's program, and nothing of the interpreter.
upper=$state/data/layerboot/vms/command/disk/upper
[ -e "$upper/else/program" ] || fail "what the guest wrote is not there"
[ -z "$(find "$upper" -name 'qemu-*' -o -name 'layerboot-*.conf')" ] || fail "the image was edited"
[ -z "$(find "$state" -type s)" ] || fail "sockets are left"
echo PASSED
