#!/bin/bash
# libvirt_test.sh BUILD_DIR: a VM of either kind of root is defined, started and shut down by a real libvirtd; the one on
# virtiofs was run before, and keeps its volume and its port.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
for program in libvirtd virsh; do
  PATH=$PATH:/usr/sbin command -v $program > /dev/null || { echo "skipped: no $program on this machine"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: a libvirtd of our own needs root"; exit 77; }
make_state_dir
make_home "$build"
export LAYERBOOT_BUILD=$build
launcher=("$build/launcher/layerboot")

mkdir "$state/shared"
port=$((20000 + RANDOM % 20000))
# One processor: a domain can't ask for QEMU's emulation in one thread, without which the guest's kernel may die (kernel/DESIGN.md).
"${launcher[@]}" run -q -d "oci:$LAYERBOOT_TEST_IMAGE:latest" --name libvirt-virtiofs --accel tcg --cpus 1 \
  -v "$state/shared:/shared" -p "127.0.0.1:$port:7777" "${programs[@]}"
# What it does at each boot from now on: it answers at the port, notes that in the volume, and has no login prompt before someone has
# put into the volume that the answer was heard; the verb below shuts a VM down as soon as it has its prompt.
"${launcher[@]}" exec -i libvirt-virtiofs -- sh -c '
  until systemctl is-system-running --wait 2> /dev/null | grep -q -e running -e degraded; do sleep 0.2; done
  cat > /etc/systemd/system/answer.socket && cat > /etc/systemd/system/answer@.service << END
[Service]
ExecStart=/bin/sh -c "cat /proc/sys/kernel/random/boot_id; echo answered >> /shared/note"
StandardOutput=socket
END
  mkdir -p /etc/systemd/system/serial-getty@ttyS0.service.d
  cat > /etc/systemd/system/serial-getty@ttyS0.service.d/heard.conf << END
[Service]
ExecStartPre=/bin/sh -c "until [ -e /shared/heard ]; do sleep 0.2; done"
TimeoutStartSec=infinity
END
  systemctl enable --now answer.socket' << 'END'
[Socket]
ListenStream=7777
Accept=yes
[Install]
WantedBy=sockets.target
END
# Short: what asks before the guest listens waits in vain.
ask() { { timeout 5 cat < "/dev/tcp/127.0.0.1/$port"; } 2> /dev/null || true; }
first=
for _ in $(seq 100); do
  first=$(ask)
  [ -z "$first" ] || break
  sleep 0.2
done
[ -n "$first" ] || fail "no answer at the published port of the VM by itself"
"${launcher[@]}" stop libvirt-virtiofs --time 600
: > "$state/shared/note"

# Until it is answered or the test is over.
listen() {
  while [ -d "$state" ]; do
    ask > "$state/answer"
    if [ -s "$state/answer" ]; then
      : > "$state/shared/heard"
      return
    fi
    sleep 0.5
  done
}
for kind in "" --virtiofs; do
  [ -z "$kind" ] || listen &
  # shellcheck disable=SC2086
  "$here/../../scripts/dev" run-image-libvirt $kind "oci:$LAYERBOOT_TEST_IMAGE:latest" --accel tcg < /dev/null 2>&1 | tee "$state/log"
  grep -q "is running" "$state/log"
  grep -q "at its login prompt" "$state/log"
  grep -q "is shut off" "$state/log"
done
grep -q answered "$state/shared/note" || fail "the domain wrote nothing into the volume"
[ -s "$state/answer" ] && [ "$(cat "$state/answer")" != "$first" ] || fail "no answer of another boot at the domain's port"
if pgrep -f "$state" > /dev/null; then fail "processes are left"; fi
echo PASSED
