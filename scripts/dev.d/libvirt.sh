#!/bin/bash
# Defines a VM with libvirt, starts it, shows its console (without a terminal: waits for its login prompt), and shuts it
# down in order.
#   libvirt.sh [--virtiofs] IMAGE [OPTION OF layerboot export…]
# As root without a system libvirtd that runs, one of its own is started, with configuration and state in a mount namespace
# that goes with it; as a user it is the user's own (qemu:///session).
set -euo pipefail
root=$(cd "$(dirname "$(realpath "$0")")/../.." && pwd)
readonly root
# shellcheck source=scripts/dev.d/common.sh
. "$root/scripts/dev.d/common.sh"

readonly limit=900 # seconds until the login prompt, on a slow machine that emulates
readonly layerboot=$programs/launcher/layerboot
kind=--disk-image
if [ "${1:-}" = --virtiofs ]; then kind= && shift; fi
image=${1:?libvirt.sh [--virtiofs] IMAGE}
shift
command -v virsh > /dev/null || die "virsh is missing: apt install libvirt-clients libvirt-daemon-system"
name=libvirt-$([ -n "$kind" ] && echo disk || echo virtiofs)

uri=qemu:///session own_daemon=''
if [ "$(id -u)" = 0 ]; then
  uri=qemu:///system
  virsh -q -c $uri version > /dev/null 2>&1 || own_daemon=1
fi
if [ -n "$own_daemon" ] && [ -z "${LAYERBOOT_LIBVIRT_NAMESPACE:-}" ]; then
  command -v libvirtd > /dev/null || die "libvirtd is missing: apt install libvirt-daemon-system"
  export LAYERBOOT_LIBVIRT_NAMESPACE=1
  [ -n "$kind" ] || set -- --virtiofs "$image" "$@"
  [ -z "$kind" ] || set -- "$image" "$@"
  exec unshare -m --propagation private "$0" "$@"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-libvirt-XXXXXX")
chmod 711 "$work"
libvirtd_pid='' serve_pid='' defined=''
virsh() { command virsh -q -c "$uri" "$@"; }
end() {
  if [ -n "$defined" ]; then
    virsh destroy "$name" > /dev/null 2>&1 || true
    virsh undefine "$name" > /dev/null 2>&1 || true
  fi
  for pid in $serve_pid $libvirtd_pid; do
    kill "$pid" 2> /dev/null || true
    wait "$pid" 2> /dev/null || true
  done
  rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# wait_for SECONDS WHAT COMMAND…
wait_for() {
  local seconds=$1 what=$2
  shift 2
  for _ in $(seq "$((seconds * 5))"); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  die "$what: not within $seconds s"
}

if [ -n "$own_daemon" ]; then
  for directory in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt; do
    mkdir -p "$directory"
    mount -t tmpfs libvirt "$directory"
  done
  # What needs a systemd, a security module or another user to change to is off: this one lives for one VM.
  cat > /etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
CONF
  printf 'auth_unix_rw = "none"\n' > /etc/libvirt/libvirtd.conf
  libvirtd -f /etc/libvirt/libvirtd.conf > "$work/libvirtd.log" 2>&1 &
  libvirtd_pid=$!
  wait_for 60 "libvirtd" virsh version
fi

"$layerboot" export libvirt "$name" --image "$image" $kind --socket-path "$work/virtiofs.sock" "$@" > "$work/plain.xml"
sed "s|<serial type='pty'/>|<serial type='pty'><log file='$work/console.log' append='off'/></serial>|" \
  "$work/plain.xml" > "$work/domain.xml"
virsh define "$work/domain.xml" > /dev/null
defined=1
if [ -z "$kind" ]; then
  "$layerboot" serve "$image" --name "$name" --socket-path "$work/virtiofs.sock" &
  serve_pid=$!
  wait_for 300 "vfsd" test -S "$work/virtiofs.sock"
fi
state_of_domain() { virsh domstate "$name" | head -n 1; }
virsh start "$name" > /dev/null
printf 'libvirt: %s is %s\n' "$name" "$(state_of_domain)" >&2
if [ -t 0 ] && [ -t 1 ]; then
  echo "libvirt: Ctrl-] leaves the console; the VM is shut down then" >&2
  virsh console "$name" || true
else
  at_prompt() { grep -q 'login: ' "$work/console.log"; }
  prompt_or_end() { at_prompt || [ "$(state_of_domain)" != running ]; }
  wait_for $limit "the login prompt" prompt_or_end
  at_prompt || die "$name ended before its login prompt; its console's end: $(tail -n 5 "$work/console.log")"
  printf 'libvirt: the guest is at its login prompt\n' >&2
fi
if [ "$(state_of_domain)" = running ]; then
  # The power button again and again: a guest that has not loaded its driver yet does not notice.
  presses=0
  stopped() {
    [ "$(state_of_domain)" != "shut off" ] || return 0
    [ $((presses++ % 50)) != 0 ] || virsh shutdown "$name"
    return 1
  }
  wait_for 240 "the guest's own shutdown" stopped
fi
printf 'libvirt: %s is %s\n' "$name" "$(state_of_domain)" >&2
