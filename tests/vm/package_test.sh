#!/bin/bash
# A packaged image, by a real dockerd and a real podman: without a privilege, with a seccomp profile that refuses io_uring and one that
# does not, on a root that can't be written to; variables, volumes, ports, exec, logs, statuses, an end in order, and what is kept.
#   package_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
# shellcheck source=tests/vm/engines.sh
. "$here/engines.sh"
need_test_image
need_engines
images=$(dirname "$LAYERBOOT_TEST_IMAGE")
"$here/systems/image.sh" busybox "$images/test/busybox"
"$here/../../scripts/dev.d/image.sh" "$images/programs" programs "$build/launcher/layerboot" "$build/vfsd/vfsd"

make_state_dir
end() {
  local status=$?
  stop_dockerd
  set +e
  (exit $status)
  end_state_dir
}
trap end EXIT
make_home "$build"
export LAYERBOOT_CONFIG=
seccomp_profiles
start_dockerd

# Twice, the same image.
package() { layerboot package -q "oci:$images/test/busybox:latest" -t vm:1 --base "oci:$images/programs:latest" "${programs[@]}" -- -q --memory 192m --accel tcg -p 8080:80; }
digest=$(package)
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "package: $digest"
same "packaged once more" "$(package)" "$digest"
said=$(layerboot package -q "oci:$images/test/busybox:latest" -- --rm 2>&1) && fail "an option without a meaning was packaged"
[[ $said == *"--rm has no meaning"* ]] || fail "package -- --rm: $said"
layerboot save vm:1 --format docker-archive -o "$state/vm.tar"
docker load -q -i "$state/vm.tar" > "$state/said" || fail "docker load: $(cat "$state/said")"
podman_own load -q -i "$state/vm.tar" > "$state/said" || fail "podman load: $(cat "$state/said")"
rm "$state/vm.tar"

# A command, in a container that may do nothing and write nowhere.
mkdir "$state/share"
printf 'from here\n' > "$state/share/in"
chown -R 1000:1000 "$state/share"
locked=(--read-only --cap-drop ALL --security-opt no-new-privileges --user 1000:1000)
rc=0
docker run --rm "${locked[@]}" --security-opt "seccomp=$state/ring.json" -e "WORD=a b" -v "$state/share:/data" vm:1 \
  sh -c 'read -r line < /data/in; echo "$line, $WORD"; echo out > /data/out; exit 7' > "$state/said" 2> "$state/errors" || rc=$?
same "a command" "$rc $(cat "$state/said")" "7 from here, a b"
same "what it wrote to a volume" "$(cat "$state/share/out")" out

# In the background, as the engine's root; where io_uring is refused.
docker volume create kept > "$state/said"
serve='echo begun; echo "$(hostname) $(cat /kept 2> /dev/null)" > /index.html; echo kept > /kept; exec busybox httpd -f -h / -p 80'
docker run -d --name web -h web --security-opt "seccomp=$state/no-ring.json" -p 127.0.0.1::8080 -v kept:/var/lib/layerboot vm:1 sh -c "$serve" \
  > "$state/said"
rings() { # how many the container's vfsds have
  local pid
  for pid in $(docker top web -eo pid,comm | awk '$2 == "vfsd" { print $1 }'); do ls -l "/proc/$pid/fd"; done | grep -c io_uring || true
}
fetch() { curl -s -m 30 "http://$(docker port web 8080/tcp | head -1)/index.html"; }
await() { # WANTED: the page
  for ((i = 0; i < 240; ++i)); do
    [ "$(fetch || true)" != "$1" ] || return 0
    sleep 0.5
  done
  docker logs web
  fail "the page is '$(fetch || true)', not '$1'"
}
await "web "
same "its rings" "$(rings)" 0
same "exec" "$(docker exec web layerboot exec vm -- sh -c 'echo in the guest')" "in the guest"
docker exec web layerboot exec --probe vm || fail "the probe"
[[ $(docker logs web 2>&1) == *begun* ]] || fail "logs: $(docker logs web 2>&1)"
docker stop -t 60 web > "$state/said"
same "its end" "$(docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' web)" "143 false"
# Another container goes on with the volume, with io_uring.
docker rm web > "$state/said"
docker run -d --name web -h web --security-opt "seccomp=$state/ring.json" -p 127.0.0.1::8080 -v kept:/var/lib/layerboot vm:1 sh -c "$serve" > "$state/said"
await "web kept"
[ "$(rings)" != 0 ] || fail "io_uring is not used where it may be"
docker kill web > "$state/said"

# Podman, whose own profile refuses io_uring. Limits of its own would be higher than those of a tester who may not raise them.
rc=0
podman_own run --rm --network none --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --read-only -e WORD=podman vm:1 sh -c 'echo "of $WORD"; exit 3' > "$state/said" 2> "$state/errors" || rc=$?
same "podman" "$rc $(cat "$state/said")" "3 of podman"
echo "passed: a packaged image by $(docker version -f 'Docker {{.Server.Version}}') and $(podman version -f 'Podman {{.Client.Version}}')"
