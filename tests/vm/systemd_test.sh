#!/bin/bash
# A VM as a service: `export systemd` by a real systemd, which a container has for its init. Enabled, started, asked, stopped in order,
# failed and started again.
#   systemd_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$(realpath "$1")
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
[ "$(id -u)" = 0 ] || skip "a container needs root"
command -v systemd-nspawn > /dev/null || skip "systemd-container is not installed: ./dev setup"
[ -c /dev/fuse ] || skip "this machine has no /dev/fuse"
unshare -m -p -f -n true 2> /dev/null || skip "this machine lets no namespaces be made"
grep -q cgroup /proc/mounts || skip "this machine has no control groups mounted"
images=$(dirname "$LAYERBOOT_TEST_IMAGE")
"$here/systems/image.sh" busybox "$images/test/busybox"

make_state_dir
nspawn=
end() {
  local status=$?
  if [ -n "$nspawn" ]; then
    kill "$nspawn" 2> /dev/null || true
    wait "$nspawn" 2> /dev/null || true
  fi
  umount "$state/root" 2> /dev/null || true
  [ $status = 0 ] || tail -40 "$state/nspawn.log" 2> /dev/null || true
  set +e
  (exit $status)
  end_state_dir
}
trap end EXIT
make_home "$build"
export LAYERBOOT_CONFIG=
# The VM is made here, and is the service's from then on.
layerboot run -q "oci:$images/test/busybox:latest" --name web -m 192m --accel tcg "${programs[@]}" -- \
  sh -c 'echo run >> /runs; trap "exit 0" TERM; while :; do sleep 1; done' > "$state/said" 2>&1 &
run=$!
for ((i = 0; i < 240; ++i)); do [ -s "$state/data/layerboot/vms/web/disk/upper/runs" ] && break || sleep 0.5; done
layerboot stop web > "$state/said"
wait "$run" || true

# The default image is the container, with this machine's programs.
mkdir "$state/root" "$state/upper"
"$build/oci-mount/mount/oci-mount" mount --allow-other --upper "$state/upper" "oci:$LAYERBOOT_TEST_IMAGE:latest" "$state/root"
layerboot export systemd web "${programs[@]}" > "$state/root/etc/systemd/system/web.service"
systemd-nspawn --quiet --directory="$state/root" --boot --machine="layerboot-$$" --register=no --keep-unit --console=read-only --bind-ro=/usr \
  --bind="$state" --bind-ro="$(realpath "$build")" --bind-ro="$images" < /dev/null > "$state/nspawn.log" 2>&1 &
nspawn=$!
in_container() {
  local init
  init=$(cat /proc/$nspawn/task/*/children 2> /dev/null) || return 1
  nsenter -a -t "${init%% *}" env -i PATH="$PATH" XDG_DATA_HOME="$XDG_DATA_HOME" XDG_CACHE_HOME="$XDG_CACHE_HOME" \
    XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" LAYERBOOT_CONFIG= "$@"
}
await() { # WHAT COMMAND...
  local what=$1
  shift
  for ((i = 0; i < 240; ++i)); do
    "$@" > "$state/said" 2>&1 && return
    kill -0 $nspawn 2> /dev/null || fail "the container has ended"
    sleep 0.5
  done
  in_container journalctl -u web --no-pager || true
  fail "$what: $(cat "$state/said")"
}
is_up() { case $(in_container systemctl is-system-running) in running | degraded) ;; *) false ;; esac; }
await "the container's start" is_up
in_container systemctl enable --now web || fail "enable: $(in_container journalctl -u web --no-pager)"
probe() { in_container "$build/launcher/layerboot" exec --probe web; }
await "the VM" probe
same "its state" "$(in_container systemctl is-active web)" active
same "enabled" "$(in_container systemctl is-enabled web)" enabled
same "in the VM" "$(in_container "$build/launcher/layerboot" exec web -- sh -c 'echo here')" here
in_container systemctl stop web || fail "stop"
same "how it ended" "$(in_container systemctl show -P Result web) $(in_container systemctl show -P ActiveState web)" "success inactive"
in_container journalctl -u web --no-pager > "$state/journal"
grep -q 'asking the guest to power off' "$state/journal" || fail "the end was not in order: $(cat "$state/journal")"

# A launcher that is killed is a failure, after which there is a VM again.
in_container systemctl start web
await "the VM, again" probe
before=$(in_container systemctl show -P MainPID web)
in_container systemctl kill --kill-whom=main -s KILL web
again() { [ "$(in_container systemctl show -P MainPID web)" != "$before" ] && probe; }
await "the VM, after a failure" again
in_container systemctl stop web
echo "passed: a VM as a service of $(systemctl --version | head -1)"
