#!/bin/bash
# libvirt_test.sh BUILD_DIR: a VM of either kind of root is defined, started and shut down by a real libvirtd; the one on
# virtiofs was run before, and keeps its volume and its port.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
[ -n "${LAYERBOOT_TEST_IMAGE:-}" ] || { echo "LAYERBOOT_TEST_IMAGE is not set: run ./dev test"; exit 1; }
for program in libvirtd virsh; do
  PATH=$PATH:/usr/sbin command -v $program > /dev/null || { echo "skipped: no $program on this machine"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: a libvirtd of our own needs root"; exit 77; }
state=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-vm-XXXXXX")
asker=
end() {
  [ -z "$asker" ] || kill "$asker" 2> /dev/null || true
  "$build/launcher/layerboot" kill libvirt-virtiofs > /dev/null 2>&1 || true
  rm -rf "$state"
}
trap end EXIT
kernels=$("$build/launcher/layerboot" kernel --guest-init "$build/guest-init/guest-init")
mkdir -p "$state/data/layerboot/kernels" "$state/run"
cp -r "$kernels" "$state/data/layerboot/kernels/"
export XDG_DATA_HOME=$state/data XDG_CACHE_HOME=$state/cache XDG_RUNTIME_DIR=$state/run
export LAYERBOOT_BUILD=$build
launcher=("$build/launcher/layerboot")
programs=(--vfsd "$build/vfsd/vfsd" --guest-init "$build/guest-init/guest-init")
fail() { echo "FAILED: $1"; exit 1; }

mkdir "$state/shared"
port=$((20000 + RANDOM % 20000))
"${launcher[@]}" run -q -d "oci:$LAYERBOOT_TEST_IMAGE:latest" --name libvirt-virtiofs --accel tcg \
  -v "$state/shared:/shared" -p "127.0.0.1:$port:7777" "${programs[@]}"
# What it does at each boot from now on: it says so in the volume, and answers at the port.
"${launcher[@]}" exec -i libvirt-virtiofs -- sh -c '
  until systemctl is-system-running --wait 2> /dev/null | grep -q -e running -e degraded; do sleep 0.2; done
  cat > /etc/systemd/system/answer.socket && cat > /etc/systemd/system/answer@.service << END
[Service]
ExecStart=/bin/sh -c "cat /proc/sys/kernel/random/boot_id; echo answered >> /shared/note"
StandardOutput=socket
END
  systemctl enable --now answer.socket' << 'END'
[Socket]
ListenStream=7777
Accept=yes
[Install]
WantedBy=sockets.target
END
ask() { { timeout 20 cat < "/dev/tcp/127.0.0.1/$port"; } 2> /dev/null || true; }
first=
for _ in $(seq 100); do
  first=$(ask)
  [ -z "$first" ] || break
  sleep 0.2
done
[ -n "$first" ] || fail "no answer at the published port of the VM by itself"
"${launcher[@]}" stop libvirt-virtiofs --time 600
: > "$state/shared/note"

(
  # Beside the domain on virtiofs: whoever asks is answered while it runs.
  until grep -q answered "$state/shared/note" 2> /dev/null; do
    ask > "$state/answer.new"
    [ ! -s "$state/answer.new" ] || mv "$state/answer.new" "$state/answer"
    sleep 0.3
  done
) &
asker=$!
for kind in "" --virtiofs; do
  # shellcheck disable=SC2086
  "$here/../../scripts/dev" run-image-libvirt $kind "oci:$LAYERBOOT_TEST_IMAGE:latest" --accel tcg < /dev/null 2>&1 | tee "$state/log"
  grep -q "is running" "$state/log"
  grep -q "at its login prompt" "$state/log"
  grep -q "is shut off" "$state/log"
done
wait $asker
asker=
[ -s "$state/answer" ] && [ "$(cat "$state/answer")" != "$first" ] || fail "no answer of another boot at the domain's port"
if pgrep -f "$state" > /dev/null; then fail "processes are left"; fi
echo PASSED
