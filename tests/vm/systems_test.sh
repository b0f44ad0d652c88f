#!/bin/bash
# Root file systems of other kinds than the default image's: each boots, runs what exec asks for, and ends in order, by `stop` and by
# its own poweroff. The images are built once and kept beside the default image.
#   systems_test.sh BUILD_DIR SYSTEM
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1 system=$2
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
image=$(dirname "$LAYERBOOT_TEST_IMAGE")/test/$system
"$here/systems/image.sh" "$system" "$image"

make_state_dir
make_home "$build"
upper=$state/data/layerboot/vms/$system/disk/upper

# What was wrong with each unit tells a fault from a unit's own time-out on a starved machine.
failed_units() {
  in_guest 'for unit in $(systemctl --failed --no-legend --plain | cut -d" " -f1); do
    systemctl show "$unit" -p Id -p Result -p ExecMainStatus; journalctl -b --no-pager -n 5 -u "$unit"; done'
}
said_on_console() { layerboot logs "$system" > "$state/console" && grep -qaF "$1" "$state/console"; }
in_guest() { layerboot exec "$system" -- sh -c "$1"; }
# The agent is there before the system is.
wait_until_up() {
  case $system in
    sysvinit) in_guest 'until runlevel 2>/dev/null | grep -q 2; do sleep 0.5; done' ;;
    openrc) in_guest 'until rc-status -r 2>/dev/null | grep -qx default && [ ! -e /run/openrc/starting/* ]; do sleep 0.5; done' ;;
    runit) in_guest 'until sv status getty-ttyS0 | grep -q ^run; do sleep 0.5; done 2>/dev/null' ;;
    busybox) in_guest 'until [ -e /started ]; do sleep 0.5; done' ;;
    *) in_guest 'until systemctl is-system-running --wait | grep -q -e running -e degraded; do sleep 0.5; done 2>/dev/null' ;;
  esac
}

options=()
if [ "$system" = trixie ]; then
  ssh-keygen -q -t ed25519 -N '' -f "$state/key"
  options=(--ssh-key "$state/key.pub")
fi
[ "$system" != sysvinit ] || options=(--password secret)
if [ "$system" = odd ]; then
  # Of another machine: nothing in it is here.
  printf '%s\n' 'UUID=11110000-aaaa-bbbb-cccc-000000000000 / ext4 errors=remount-ro 0 1' 'UUID=1111-0000 /boot/efi vfat umask=0077 0 1' \
    'UUID=22220000-aaaa-bbbb-cccc-000000000000 none swap sw 0 0' 'LABEL=data /home ext4 defaults 0 2' '/dev/sdb1 /srv ext4 defaults 0 2' > "$state/fstab"
  options=(-v "$state/fstab:/etc/fstab:ro")
fi
layerboot run -q -d "oci:$image:latest" --name "$system" --accel tcg "${options[@]}" "${programs[@]}"
said=$(in_guest 'echo out; id -u; test -d /lib/modules/$(cat /proc/sys/kernel/osrelease) && echo modules; exit 5') && fail "exec ended with 0"
[ "$said" = "out
0
modules" ] || fail "exec said: $said"

# What it ends with, and what is left of an end in order.
wait_until_up || fail "it did not come up"
case $system in
  trixie | bullseye | testing | odd | udevless)
    said=$(in_guest 'systemctl is-system-running; systemctl --failed --no-legend --plain')
    [ "$said" = running ] || { failed_units; fail "the system is: $said"; }
    in_guest 'grep -qx "[0-9a-f]\{32\}" /etc/machine-id' || fail "no machine-id"
    if [ "$system" = udevless ]; then
      # A getty that waits for no device, and a network that waits for no word of udev's.
      in_guest 'systemctl is-active layerboot-getty.service > /dev/null' || fail "no getty"
      said=$(in_guest 'systemctl list-jobs --no-legend; ip -4 -o addr show scope global | grep -o "inet [0-9./]*"')
      [ "$said" = "inet 10.0.2.15/24" ] || fail "the system without udev: $said"
      layerboot logs udevless | grep -q "login:" || fail "no login prompt"
    fi
    if [ "$system" = odd ]; then
      layerboot logs odd | grep -q "names devices that are not here: UUID=11110000" || fail "nothing is said of the fstab"
      said=$(in_guest 'systemctl is-active dbus-broker; getfattr -n security.selinux --only-values /etc/passwd 2>/dev/null | tr -d "\0"')
      [ "$said" = "active
system_u:object_r:etc_t:s0" ] || fail "the odd system: $said"
    fi
    ;;
esac
if [ "$system" = trixie ]; then
  said=$(layerboot ssh trixie 'id -un; echo err >&2; exit 3' 2> "$state/err") && fail "ssh ended with 0"
  [ "$said $(cat "$state/err")" = "root err" ] || fail "ssh said: $said $(cat "$state/err")"
  # An sshd with another key than the one that it was given is not the VM's. No use of the user's keys goes along.
  keys=$state/data/layerboot/vms/trixie/ssh
  ssh-keygen -q -t ed25519 -N '' -f "$state/imposter"
  cp "$keys/host_key.pub" "$state/host_key.pub"
  cp "$state/imposter.pub" "$keys/host_key.pub"
  ! layerboot ssh trixie true 2> "$state/err" || fail "any host key will do"
  grep -qi "host key" "$state/err" || fail "of another host key ssh said: $(cat "$state/err")"
  cp "$state/host_key.pub" "$keys/host_key.pub"
  [ "$(layerboot ssh trixie 'echo again')" = again ] || fail "ssh lets nobody in any more"
  mkdir "$state/fake" && printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' > "$state/fake/ssh" && chmod +x "$state/fake/ssh"
  PATH=$state/fake:$PATH layerboot ssh trixie > "$state/words"
  grep -qx ForwardAgent=no "$state/words" && grep -qx IdentityAgent=none "$state/words" || fail "ssh was told: $(cat "$state/words")"
  # The key that was named, by a ssh of one's own; and no other.
  by_key() {
    ssh -F none -o "ProxyCommand=$build/launcher/layerboot ssh --proxy trixie" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
      -o LogLevel=ERROR -o IdentitiesOnly=yes -o BatchMode=yes -i "$1" root@trixie "$2"
  }
  [ "$(by_key "$state/key" 'echo here')" = here ] || fail "the named key does not let in"
  ssh-keygen -q -t ed25519 -N '' -f "$state/other"
  ! by_key "$state/other" true 2> /dev/null || fail "another key lets in"
  # For its own sshd, by a port or from within; the VM's own key is for layerboot alone.
  [ "$(in_guest 'cat /root/.ssh/authorized_keys')" = "$(cat "$state/key.pub")" ] || fail "root's own keys are not the named one"
fi
if [ "$system" = openrc ]; then
  for ((i = 0; i < 600; ++i)); do said_on_console "login:" && break || sleep 0.5; done
  said_on_console "login:" || fail "no login prompt"
  same "its init" "$(in_guest 'cat /proc/1/comm')" openrc-init
  same "its network" "$(in_guest 'ip -4 -o addr show scope global | grep -o "inet [0-9./]*"')" "inet 10.0.2.15/24"
fi
if [ "$system" = runit ]; then
  for ((i = 0; i < 600; ++i)); do said_on_console "login:" && break || sleep 0.5; done
  said_on_console "login:" || fail "no login prompt"
  same "its init" "$(in_guest 'cat /proc/1/comm')" runit
  same "its network" "$(in_guest 'ip -4 -o addr show scope global | grep -o "inet [0-9./]*"')" "inet 10.0.2.15/24"
  in_guest 'mkdir /etc/sv/marks; printf "#!/bin/sh\ntouch /marked; exec sleep 10000\n" > /etc/sv/marks/run
    printf "#!/bin/sh\ntouch /ended-in-order\n" > /etc/sv/marks/finish; chmod +x /etc/sv/marks/run /etc/sv/marks/finish
    ln -s /etc/sv/marks /etc/service/; until [ -e /marked ]; do sleep 0.5; done'
fi
if [ "$system" = sysvinit ]; then
  # Its own ifupdown has the card.
  same "ifupdown's card" "$(in_guest 'ip -4 -o addr show dev eth0 | grep -o "inet [0-9./]*"; ps -e -o comm= | grep -x dhclient')" "inet 10.0.2.15/24
dhclient"
  # The inittab of Debian's sysvinit has no serial line; the password is as passwd would set it.
  for ((i = 0; i < 600; ++i)); do said_on_console "login:" && break || sleep 0.5; done
  said_on_console "login:" || fail "no login prompt"
  in_guest 'grep -qF "root:\$6\$" /etc/shadow' || fail "no password"
  [[ $(layerboot inspect sysvinit) != *password* ]] || fail "inspect shows the password's hash"
  # Another machine's, for the next boot.
  in_guest 'echo "UUID=0b1d0000-aaaa-bbbb-cccc-000000000000 /home ext4 defaults 0 2" > /etc/fstab
    sed -i s/eth0/ens3/ /etc/network/interfaces; ! test -e /run/systemd/system' || fail "its init is no systemd"
fi
in_guest 'echo kept > /kept'
layerboot stop "$system" --time 600 || fail "stop"
case $system in
  busybox | runit) [ -e "$upper/ended-in-order" ] || fail "its init was not asked to end"; rm "$upper/ended-in-order" ;;
  sysvinit) layerboot logs "$system" | grep -qi "INIT: Switching to runlevel: 0\|Will now halt\|Power down" || fail "no end in order" ;;
  openrc) layerboot logs "$system" | grep -qi "power down\|remounting\|unmounting" || fail "no end in order" ;;
  *) layerboot logs "$system" | grep -q "Power down" || fail "no end in order" ;;
esac

# Once more, and off by its own doing.
layerboot start "$system" "${programs[@]}"
[ "$(in_guest 'cat /kept')" = kept ] || fail "what was written is gone"
wait_until_up || fail "it did not come up again"
if [ "$system" = sysvinit ]; then
  said_on_console "names devices that are not here: UUID=0b1d0000" || fail "nothing is said of the fstab"
  in_guest 'grep -q nofail /etc/fstab' || fail "the fstab is as it was"
  # By the name that it has there, though no udev gives it one.
  same "ifupdown's renamed card" "$(in_guest 'ip -4 -o addr show dev ens3 | grep -o "inet [0-9./]*"')" "inet 10.0.2.15/24"
fi
case $system in
  openrc) in_guest 'openrc-shutdown --poweroff now' || true ;;
  runit) in_guest 'init 0' || true ;;
  *) in_guest poweroff || true ;;
esac
for ((i = 0; i < 600; ++i)); do
  layerboot ps --json | grep -q "\"$system\"" || break
  sleep 0.5
done
layerboot inspect "$system" | grep -q '"exit_status": 0' || fail "its own poweroff: $(layerboot inspect "$system")"
[[ $system != busybox && $system != runit ]] || [ -e "$upper/ended-in-order" ] || fail "its init has not ended in order"
[ -z "$(find "$state" -type s)" ] || fail "sockets are left"
echo PASSED
