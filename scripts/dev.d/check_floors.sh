#!/bin/bash
# Fails when an #include points up or sideways: the floors of the house, bottom first.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."

# level of each folder; siblings on one level do not include each other.
awk_levels='
  function level(f) {
    if (f ~ /^oci-mount\/base\//) return 0
    if (f ~ /^oci-mount\/store\//) return 1
    if (f ~ /^oci-mount\/layer\//) return 2
    if (f ~ /^oci-mount\/tree\//) return 3
    if (f ~ /^oci-mount\/overlay\//) return 4
    if (f ~ /^oci-mount\/vfs\//) return 5
    if (f ~ /^vfsd\/(fuse|vhost)\//) return 6
    if (f ~ /^(vfsd\/daemon|oci-mount\/mount)\//) return 7
    if (f ~ /^launcher\/host\//) return 7
    if (f ~ /^launcher\/kernel\//) return 8
    if (f ~ /^launcher\/vm\//) return 9
    if (f ~ /^launcher\/images\//) return 10
    if (f ~ /^launcher\/(qemu|agent|console|disk)\//) return 11
    if (f ~ /^launcher\/supervise\//) return 12
    if (f ~ /^launcher\/export\//) return 13
    if (f ~ /^launcher\/cli\//) return 14
    if (f ~ /^launcher\/main\.cc$/) return 15
    if (f ~ /^guest-init\//) return 0
    return -1
  }
  function folder(f) { sub(/\/[^\/]*$/, "", f); return f }
  {
    from = $1; to = $2
    a = level(from); b = level(to)
    bad = 0
    if (folder(from) != folder(to)) bad = (a < 0 || b < 0 || b >= a)
    if (from ~ /^launcher\// && to !~ /^(launcher|guest-init|oci-mount\/base|oci-mount\/store)\//) bad = 1
    # Who throws indexes away asks them what they are of.
    if (from ~ /^launcher\/images\/store_gc/ && to ~ /^oci-mount\/(layer|tree)\//) bad = 0
    if (from ~ /^guest-init\// && to !~ /^guest-init\//) bad = 1
    if (bad) { print from ": includes " to ", which is not below it"; failed = 1 }
  }
  END { exit failed }'
git ls-files -co --exclude-standard -- 'oci-mount/*.h' 'oci-mount/*.cc' 'vfsd/*.h' 'vfsd/*.cc' 'launcher/*.h' 'launcher/*.cc' \
  'guest-init/*.h' 'guest-init/*.cc' |
  xargs grep -HoE '^#include "[^"]+"' | sed -E 's/^([^:]+):#include "([^"]+)"/\1 \2/' | awk "$awk_levels"

# A header that only one of ours may include, which says why.
! git grep -nE '^#include <ext2fs/' -- '*.h' '*.cc' ':!oci-mount/base/ext2fs_library.h' ||
  { echo 'include "oci-mount/base/ext2fs_library.h" instead'; exit 1; }
