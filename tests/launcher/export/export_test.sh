#!/bin/bash
# What `layerboot export` prints is taken by whom it is for: the manifests by Kubernetes' own types, the unit by systemd-analyze.
#   export_test.sh LAYERBOOT
set -euo pipefail
layerboot=$1
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
state=$(mktemp -d "${TMPDIR:-/var/tmp}/layerboot-export-XXXXXX")
trap 'rm -rf "$state"' EXIT
export XDG_DATA_HOME=$state/data XDG_CACHE_HOME=$state/cache XDG_RUNTIME_DIR=$state/run LAYERBOOT_CONFIG=
fail() { echo "FAILED: $*"; exit 1; }
refused() { # PATTERN WORD...
  local pattern=$1 said
  shift
  said=$("$layerboot" export "$@" 2>&1) && fail "export $*: was not refused"
  [[ $said == *"$pattern"* ]] || fail "export $*: said: $said"
}
mkdir -p "$state/data/layerboot/vms/web" "$state/cache/layerboot" "$state/volume"
cat > "$state/data/layerboot/vms/web/config.json" << END
{"version": 1, "name": "web", "image": "debian:12", "machine_id": "0123456789abcdef0123456789abcdef", "quota_bytes": 4294967296, "run": {
  "cpus": 2, "memory_bytes": 536870912, "environment": ["A=\$(B)"], "volumes": [{"host": "$state/volume", "guest": "/v", "kind": "rw"}],
  "published": [{"address": "127.0.0.1", "host": 8080, "guest": 80}]}}
END

strict() { "$layerboot" export kubernetes "$@" > "$state/set.yaml" && "$here/strict_manifests.py" < "$state/set.yaml" || fail "export kubernetes $*"; }
strict registry.example/team/app:1
grep -q '^  name: "app"$' "$state/set.yaml" || fail "its name: $(cat "$state/set.yaml")"
strict registry.example/app@sha256:0000000000000000000000000000000000000000000000000000000000000000 --name other --namespace vms --replicas 3 \
  --cpus 2 --memory 2G --disk 10G --storage-class fast --kvm kubevirt --kvm-group 104 -p 80 -p 53:53/udp
grep -q 'devices.kubevirt.io/kvm' "$state/set.yaml" || fail "KubeVirt's resource"
strict web --image registry.example/web:1 --kvm none
grep -q -- '--cpus 2 --memory 512M --disk 4096M --accel tcg -p 0.0.0.0:80:80' "$state/set.yaml" || fail "the VM's settings: $(cat "$state/set.yaml")"
refused "give the packaged image" kubernetes web
refused "give a --name" kubernetes registry.example/1app:1
refused "--kvm" kubernetes registry.example/app:1 --kvm other
# The check sees what it is for.
sed 's/runAsNonRoot/runAsNobody/' "$state/set.yaml" | "$here/strict_manifests.py" > "$state/said" 2>&1 && fail "an unknown member was taken"
grep -q 'has no such member' "$state/said" || fail "an unknown member: $(cat "$state/said")"

"$layerboot" export systemd web > "$state/web.service"
systemd-analyze verify --man=no "$state/web.service" > "$state/said" 2>&1 || fail "the unit: $(cat "$state/said")"
grep -q web.service "$state/said" && fail "the unit: $(cat "$state/said")"
exposure=$(systemd-analyze security --offline=yes "$state/web.service" | sed -n 's/.*Overall exposure level[^:]*: \([0-9]*\)\..*/\1/p')
echo "systemd-analyze security: $exposure of 10"
[ "$exposure" -lt 7 ] || [ "$(id -u)" != 0 ] || fail "its exposure is $exposure"
refused "no VM" systemd nothing
echo PASSED
