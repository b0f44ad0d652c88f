#!/bin/bash
# Whose the network cards are: NetworkManager's in an image that enables it, then ifupdown's, by the name that its configuration has for the
# card. In neither does networkd, which the launcher asks for, take them as well.
#   managers_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
image=$(dirname "$LAYERBOOT_TEST_IMAGE")/test/managers
"$here/systems/image.sh" managers "$image"

make_state_dir
make_home "$build"
in_guest() { layerboot exec managers -- sh -c "$1"; }
wait_until_up() { in_guest 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.5; done 2>/dev/null'; }
readonly look='systemctl is-active NetworkManager systemd-networkd networking; systemctl --failed --no-legend --plain
  ip -4 -o addr show scope global | grep -o "inet [0-9./]*" | sort'

layerboot run -q -d "oci:$image:latest" --name managers --net user --net user --accel tcg "${programs[@]}"
wait_until_up || fail "it did not come up"
in_guest 'for i in $(seq 300); do [ "$(nmcli -t -f STATE device | grep -cx connected)" = 2 ] && break; sleep 0.5; done; nmcli -t -f TYPE,STATE device' > "$state/said"
same "NetworkManager's cards" "$(grep -cx ethernet:connected "$state/said")" 2
same "with NetworkManager" "$(in_guest "$look" || true)" "active
inactive
active
inet 10.0.2.15/24
inet 10.0.3.15/24"

in_guest 'systemctl -q disable NetworkManager && printf "auto ens77\niface ens77 inet dhcp\n" > /etc/network/interfaces.d/card'
layerboot restart managers "${programs[@]}" > /dev/null || fail "restart"
wait_until_up || fail "it did not come up again"
same "with ifupdown" "$(in_guest "$look" || true)" "inactive
inactive
active
inet 10.0.2.15/24"
in_guest 'ip -4 -o addr show dev ens77 | grep -q "inet 10.0.2.15/24"' || fail "the card is not called as ifupdown has it"
layerboot rm -f managers > /dev/null || fail "rm"
echo PASSED
