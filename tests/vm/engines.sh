# shellcheck shell=bash
# Container engines of one test's own, below its `state` directory (state_dir.sh). Sourced.
#   need_engines: skips the test where they can't be had.
#   start_dockerd: a dockerd with a bridge of its own, for `docker`; stop_dockerd ends it.
#   podman_own: podman with storage of its own.
#   seccomp_profiles: makes $state/ring.json and $state/no-ring.json, Debian's default profile with and without io_uring.
need_engines() {
  local tool
  for tool in dockerd docker podman ip jq; do
    command -v "$tool" > /dev/null || skip "$tool is not installed: ./dev setup"
  done
  [ "$(id -u)" = 0 ] || skip "container engines of one's own need root"
}

# shellcheck disable=SC2154 # `state` is the sourcing script's
docker() { command docker -H "unix://$state/docker.sock" "$@"; }

start_dockerd() {
  bridge=lbt$((RANDOM % 10000))
  ip link add "$bridge" type bridge || skip "this machine lets no bridge be made"
  ip addr add "172.29.$((RANDOM % 250)).1/24" dev "$bridge"
  ip link set "$bridge" up
  dockerd --data-root "$state/docker" --exec-root "$state/docker-exec" --pidfile "$state/docker.pid" -H "unix://$state/docker.sock" \
    --bridge "$bridge" --iptables=false --ip6tables=false --storage-driver overlay2 > "$state/dockerd.log" 2>&1 &
  for ((i = 0; i < 120; ++i)); do
    docker version > /dev/null 2>&1 && return
    sleep 0.5
  done
  tail -20 "$state/dockerd.log"
  fail "dockerd does not answer"
}

# By its own pid, and its containers before it: none is to outlive the test.
stop_dockerd() {
  [ -n "${bridge:-}" ] || return 0
  local left
  left=$(docker ps -aq 2> /dev/null) || true
  # shellcheck disable=SC2086 # words
  [ -z "$left" ] || docker rm -f -v $left > /dev/null 2>&1 || true
  if [ -s "$state/docker.pid" ]; then
    kill "$(cat "$state/docker.pid")" 2> /dev/null || true
    for ((i = 0; i < 100; ++i)); do [ -e "$state/docker.pid" ] && sleep 0.1 || break; done
  fi
  ip link del "$bridge" 2> /dev/null || true
  # What the engines left mounted would be in the way of what removes `state`.
  awk -v top="$state/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do umount -l "$mount" || true; done
}

# By runc: crun of Debian 12 knows no host with control groups of both versions.
podman_own() { podman --runtime runc --cgroup-manager cgroupfs --root "$state/podman" --runroot "$state/podman-run" --tmpdir "$state/podman-tmp" "$@"; }

seccomp_profiles() {
  local base=/usr/share/containers/seccomp.json ring='["io_uring_setup", "io_uring_enter", "io_uring_register"]'
  jq "del(.syscalls[].names[] | select(IN(${ring}[])))" "$base" > "$state/no-ring.json"
  jq ".syscalls += [{\"names\": $ring, \"action\": \"SCMP_ACT_ALLOW\"}]" "$state/no-ring.json" > "$state/ring.json"
}
