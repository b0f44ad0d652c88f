#!/bin/bash
# A VM with two cards, the first on an interface of the host, in a network namespace with a DHCP server that is busybox's: guest-init gets the address in an
# image run as a command, systemd-networkd in a fat VM. Control groups of version 1 on the way.
#   network_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
if [ -z "${LAYERBOOT_TEST_IN_NETNS:-}" ]; then
  [ "$(id -u)" = 0 ] || skip "a network namespace and a tap interface need root"
  [ -c /dev/net/tun ] || skip "no /dev/net/tun on this machine"
  busybox udhcpd --help > /dev/null 2>&1 || skip "no busybox with udhcpd: ./dev setup"
  export LAYERBOOT_TEST_IN_NETNS=1
  exec unshare --net --mount --pid --fork --kill-child "$0" "$@"
fi

mount -t proc proc /proc
make_state_dir
make_home "$build"

ip link set lo up
ip tuntap add dev lbtap mode tap
ip addr add 10.99.0.1/24 dev lbtap
ip link set lbtap up
cat > "$state/udhcpd.conf" <<CONF
interface lbtap
start 10.99.0.77
end 10.99.0.77
opt subnet 255.255.255.0
opt router 10.99.0.1
opt dns 10.99.0.53
opt lease 3600
lease_file $state/leases
pidfile $state/udhcpd.pid
CONF
# There is one address, and each VM has a card of its own: every VM gets a server that knows of no other.
serve_leases() {
  [ -z "${server:-}" ] || { kill "$server"; wait "$server" || true; }
  : > "$state/leases"
  busybox udhcpd -f "$state/udhcpd.conf" >> "$state/udhcpd.log" 2>&1 &
  server=$!
}
serve_leases

fail() { cat "$state/udhcpd.log"; echo "FAILED: $*"; exit 1; }
run() {
  layerboot run -q "oci:$LAYERBOOT_TEST_IMAGE:latest" --accel tcg --net tap=lbtap --net user --vfsd "$build/vfsd/vfsd" \
    --guest-init "$build/guest-init/guest-init" "$@"
}
readonly look='ip -4 -o addr show scope global | grep -o "inet [0-9./]*"; ip route | grep -o "default via [0-9.]*"; cat /etc/resolv.conf'

said=$(run --name command --cgroup 1 -- sh -c "$look; stat -f -c %T /sys/fs/cgroup; test -d /sys/fs/cgroup/freezer && echo v1" < /dev/null) ||
  fail "an image run as a command ended with $?: $said"
[ "$said" = "inet 10.99.0.77/24
inet 10.0.3.15/24
default via 10.99.0.1
nameserver 10.99.0.53
tmpfs
v1" ] || fail "an image run as a command: $said"

serve_leases
run -d --name fat --cgroup 1
# The system is up without waiting for its network: the lease may come later.
said=$(layerboot exec fat -- sh -c 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.2; done 2>/dev/null
  systemctl --failed --no-legend --plain
  until [ "$(ip -4 -o addr show scope global | wc -l)" = 2 ]; do sleep 0.2; done; ip -4 -o addr show scope global | grep -o "inet [0-9./]*" | sort
  until [ "$(ip route show default | wc -l)" = 2 ]; do sleep 0.2; done; ip route get 192.0.2.1 | grep -o "via [0-9.]*"
  stat -f -c %T /sys/fs/cgroup; ping -c 1 -W 60 10.99.0.1 | grep -o "1 received"') || fail "a fat VM's exec ended with $?: $said"
layerboot stop fat
[ "$said" = "inet 10.0.3.15/24
inet 10.99.0.77/24
via 10.99.0.1
tmpfs
1 received" ] || fail "a fat VM: $said"
[ -z "$(find "$state" -type s)" ] || fail "sockets are left"
echo PASSED
