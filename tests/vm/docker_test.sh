#!/bin/bash
# A Docker engine in a VM, used from the host: `run --docker`, `docker VM …`, ports that containers publish; on both kinds of upper that
# keep anything.
#   docker_test.sh BUILD_DIR [disk]     disk: on a disk of the guest's own, instead
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
layout=$(dirname "$LAYERBOOT_TEST_IMAGE")/docker
"$here/../../scripts/dev.d/image.sh" "$layout" docker

make_state_dir
make_home "$build"
export LAYERBOOT_CONFIG=
mkdir "$state/data/layerboot/images"
ln -s "$layout" "$state/data/layerboot/images/docker"
# The VM's own client, whatever this host has: PATH without it.
mkdir "$state/bin"
for tool in timeout tar env; do ln -s "$(command -v $tool)" "$state/bin/"; done
in_vm() { PATH=$state/bin layerboot docker "$@"; }

mkdir -p "$state/image/bin"
cp "$(command -v busybox)" "$state/image/bin/"

# On a disk of the guest's own the engine's directories are plain ones of the disk.
if [ "${2:-}" = disk ]; then
  layerboot run --docker --name disk --upper disk --accel tcg "${programs[@]}" > "$state/said"
  same "the storage on a disk" "$(in_vm disk info --format '{{.Driver}}')" overlay2
  said=$(layerboot exec disk -- stat -f -c %T /var/lib/docker)
  same "what it lies on" "$said" ext2/ext3
  tar -C "$state/image" -c . | in_vm disk import - bb > "$state/said"
  in_vm disk run --rm bb /bin/busybox true || fail "a container on a disk"
  layerboot stop disk > "$state/said"
  echo "passed: a Docker engine on a disk of its VM"
  exit 0
fi

said=$(layerboot run --docker --accel tcg --timing "${programs[@]}")
socket=$state/runtime/layerboot/docker/docker.sock
same "what is printed" "$said" "export DOCKER_HOST=unix://$socket"
curl -sS --unix-socket "$socket" http://docker/version | grep -q '"ApiVersion"' || fail "the engine does not answer through the socket"
said=$(in_vm docker info)
for line in "Storage Driver: overlay2" "Native Overlay Diff: true"; do
  [[ $said == *"$line"* ]] || fail "not '$line': $said"
done
same "control groups" "$(in_vm docker info --format '{{.CgroupVersion}} {{.MemoryLimit}}')" "2 true"

# An image of what is here, a container of it, and its exit status.
tar -C "$state/image" -c . | in_vm docker import - bb > "$state/said"
rc=0
in_vm docker run --rm --memory 64m bb /bin/busybox sh -c 'echo in a container; exit 7' > "$state/said" || rc=$?
same "a container" "$rc $(cat "$state/said")" "7 in a container"
printf 'FROM bb\nRUN ["/bin/busybox", "touch", "/built"]\n' | in_vm docker build -t built - > "$state/said" || fail "build: $(cat "$state/said")"
in_vm docker run --rm -v kept:/kept built /bin/busybox cp /built /kept/x || fail "a volume"

# A port that a container publishes is here, and goes with it.
port=$((20000 + RANDOM % 10000))
in_vm docker run -d --name web -p "$port:80" bb /bin/busybox sh -c 'echo from a container > /index.html; exec /bin/busybox httpd -f -h / -p 80' \
  > "$state/said"
for ((i = 0; i < 300; ++i)); do
  said=$(curl -s -m 30 "http://127.0.0.1:$port/") && break
  sleep 1
done
same "the port of a container" "$said" "from a container"
in_vm docker rm -f web > "$state/said"
# Not by a connection, which may be taken and then end since nobody is behind it.
for ((i = 0; i < 60; ++i)); do
  ss -Hltn "sport = :$port" | grep -q . || break
  sleep 1
done
[ "$i" -lt 60 ] || fail "the port of a container that is gone"
layerboot stop docker > "$state/said"

# An image without an engine: the error tells where to look, and the VM stays.
said=$(layerboot docker nothing ps 2>&1) && fail "a VM that there is not"
[[ $said == *"no VM nothing"* ]] || fail "a VM that there is not: $said"
echo "passed: a Docker engine in a VM, its containers and their ports"
