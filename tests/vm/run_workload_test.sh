#!/bin/bash
# Boots the workload image with workload/guest.sh as its only business, and judges what the guest says of each part; then
# holds the guest's df against the host's du, and looks for errors of the daemon.
#   run_workload_test.sh BUILD_DIR FSX PARTS [OPTION OF layerboot run…]
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$1 fsx=$2 parts=$3
shift 3
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
[ "$(id -u)" = 0 ] || skip "building the workload's image needs root"
readonly most_minutes=25 # a bound for what hangs, no expectation of speed
seed=${LAYERBOOT_TEST_SEED:-$RANDOM}
echo "seed $seed (LAYERBOOT_TEST_SEED)"

image=$build/tests/vm/workload-image
"$here/workload/image.sh" "$LAYERBOOT_TEST_IMAGE" "$fsx" "$image"
make_state_dir
make_home "$build"

status=0
timeout --kill-after=60 "${most_minutes}m" "$build/launcher/layerboot" run "oci:$image:latest" --name workload \
  --accel tcg --cpus 2 --disk 1500M --vfsd "$build/vfsd/vfsd" --guest-init "$build/guest-init/guest-init" "$@" \
  --append "layerboot.workload=$parts layerboot.seed=$seed" < /dev/null > "$state/console" 2>&1 || status=$?
tr -d '\r' < "$state/console" > "$state/text"
fail() { tail -60 "$state/text"; echo "FAILED: $*"; exit 1; }
grep '^workload: ' "$state/text" || true
[ $status = 0 ] || fail "layerboot run ended with $status"
for part in ${parts//,/ }; do
  grep -q "^workload: $part ok" "$state/text" || fail "$part is not ok"
done
grep -q '^workload: PASSED$' "$state/text" || fail "the guest did not say that all passed"
! grep -qE '^(vfsd|layerboot): (warning|error)' "$state/text" || fail "the programs have complained"

# Within 1 %: systemd writes a little after the guest has looked.
read -r used inodes < <(sed -n 's/^workload: used \([0-9]*\) inodes \([0-9]*\)$/\1 \2/p' "$state/text")
upper=$state/data/layerboot/vms/workload/disk/upper
host_used=$(du -s --block-size=1 "$upper" | cut -f1)
host_inodes=$(du -s --inodes "$upper" | cut -f1)
# Whiteouts are free (most are links of one inode), and so is the top.
whiteouts=$(find "$upper" -type c -exec stat -c '%t:%T %i' {} + | { grep '^0:0 ' || true; } | sort -u | wc -l)
charged_inodes=$((host_inodes - whiteouts - 1))
echo "guest: $used bytes, $inodes inodes; host: $host_used bytes, $charged_inodes inodes besides $whiteouts of whiteouts"
close() { [ $((($1 - $2) * 100)) -le "$2" ] && [ $((($2 - $1) * 100)) -le "$2" ]; }
close "$host_used" "$used" || fail "df in the guest and du on the host disagree"
close "$charged_inodes" "$inodes" || fail "df -i in the guest and du --inodes on the host disagree"
