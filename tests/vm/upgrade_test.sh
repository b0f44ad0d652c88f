#!/bin/bash
# A whole system's apt upgrade, committed: what umoci unpacks of the image is what the VM saw, to the last name, owner, mode, time, link,
# attribute and byte. The system is Debian 12 without its security updates; these lie downloaded in it.
#   upgrade_test.sh BUILD_DIR
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
build=$(realpath "$1")
# shellcheck source=tests/vm/state_dir.sh
. "$here/state_dir.sh"
need_test_image
[ "$(id -u)" = 0 ] || skip "building the image, and unpacking it, needs root"
for tool in mmdebstrap umoci getfattr; do command -v $tool > /dev/null || skip "$tool is not installed: ./dev setup"; done
most_minutes=40
make_state_dir
make_home "$build"
export LAYERBOOT_CONFIG=

# The system, as an image: for this run alone, since there are other updates tomorrow.
sources() { # CODENAME: where this machine has it from
  apt-get indextargets --format '$(CREATED_BY) $(CODENAME) $(REPO_URI)' | awk -v name="$1" '$1 == "Packages" && $2 == name && $3 ~ /^http/ { print $3; exit }'
}
main=$(sources bookworm) security=$(sources bookworm-security)
if [ -z "$main" ] || [ -z "$security" ]; then skip "this machine's apt has no bookworm with security updates"; fi
root=$state/root
# shellcheck disable=SC2016 # $1 is mmdebstrap's
mmdebstrap --quiet --mode=root --variant=minbase --skip=cleanup/apt,cleanup/reproducible \
  --include=ca-certificates,openssl,systemd-sysv,openssh-server,curl,python3-minimal,bind9-host,git,gnupg,libcap2-bin,iputils-ping \
  --customize-hook='chroot "$1" apt-get -q clean' \
  --customize-hook="echo 'deb $security bookworm-security main' > \"\$1/etc/apt/sources.list.d/security.list\"" \
  --customize-hook='chroot "$1" apt-get -q update' --customize-hook='chroot "$1" apt-get -y -q --download-only upgrade' \
  bookworm "$root" "deb $main bookworm main" > "$state/log" 2>&1 || { tail -5 "$state/log"; skip "the mirror does not give a Debian 12"; }
packages=$(find "$root/var/cache/apt/archives" -name '*.deb' | wc -l)
[ "$packages" -gt 0 ] || skip "there are no updates"
umoci init --layout "$state/aged"
umoci new --image "$state/aged:latest"
tar -C "$root" --numeric-owner --xattrs '--xattrs-include=*' -cf "$state/layer.tar" .
umoci raw add-layer --image "$state/aged:latest" "$state/layer.tar"
umoci config --image "$state/aged:latest" --config.cmd /bin/sh --architecture amd64 --os linux \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
rm -rf --one-file-system "$root" "$state/layer.tar"

# Nobody but the upgrade writes: it is the guest's first program. Then what the guest sees goes out, as a tar.
mkdir "$state/out"
cat > "$state/out/upgrade" << 'TEXT'
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -y -q --no-download -o Dpkg::Options::=--force-confold upgrade
cd /
# Moved, linked, emptied and full of holes, beside what dpkg does.
mv /usr/share/doc/git /usr/share/doc/moved
ln /usr/bin/git /usr/bin/git-of-the-test
truncate -s 3M /var/lib/hole
find / -xdev -name '*~' -delete
# Directories that something is mounted on change by themselves.
tar --one-file-system --exclude=./proc --exclude=./sys --exclude=./dev --exclude=./run --exclude=./tmp --exclude=./out \
  --numeric-owner --xattrs '--xattrs-include=*' --sort=name -cf /out/seen.tar .
TEXT
layerboot run -q "oci:$state/aged:latest" --name aged --accel tcg -m 768m --net none -v "$state/out:/out" "${programs[@]}" -- \
  sh /out/upgrade > "$state/said" 2>&1 || { tail -30 "$state/said"; fail "the upgrade"; }
grep -q " upgraded, " "$state/said" || fail "nothing was upgraded"
layerboot commit -q --oci-mount "$build/oci-mount/mount/oci-mount" aged aged:upgraded > "$state/digest" || fail "commit"
umoci unpack --image "$state/data/layerboot/store:docker.io/library/aged:upgraded" "$state/bundle" > "$state/said" 2>&1 ||
  umoci unpack --image "$state/data/layerboot/store:aged:upgraded" "$state/bundle" > "$state/said" 2>&1 || { cat "$state/said"; fail "umoci unpack"; }
unpacked=$state/bundle/rootfs

# What the VM had from elsewhere, and what belongs to one machine, is not the image's.
{
  for tar in "$state"/data/layerboot/vms/aged/vm-layer.tar "$state"/data/layerboot/kernels/*/modules.tar; do tar -tf "$tar"; done | sed 's|/$||; s|^|./|'
  printf './%s\n' etc/machine-id var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/systemd/credential.secret out
} | sort -u > "$state/foreign"
# With the directories that are there for these alone.
"$build/oci-mount/mount/oci-mount" -q ls -R "oci:$state/aged:latest" | sed 's|^|./|' | sort > "$state/base"
while read -r path; do
  while path=${path%/*} && [ "$path" != . ]; do echo "$path"; done
done < "$state/foreign" | sort -u | comm -23 - "$state/base" > "$state/foreign.parents"
cat "$state/foreign.parents" >> "$state/foreign"
mkdir "$state/seen"
tar -C "$state/seen" --numeric-owner --xattrs '--xattrs-include=*' -xpf "$state/out/seen.tar"
entries() { # DIRECTORY FIND-ARGUMENT…: of what the image has
  (cd "$1" && shift && find . \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./usr/lib/modules \) -prune -o "$@" | sort -z)
}
own() { tr '\0' '\n' | awk 'NR == FNR { foreign[$1]; next } !($1 in foreign)' "$state/foreign" -; }
alike() { # WHAT FUNCTION
  "$2" "$state/seen" > "$state/$2.seen"
  "$2" "$unpacked" > "$state/$2.unpacked"
  diff "$state/$2.seen" "$state/$2.unpacked" > "$state/diff" || { head -30 "$state/diff"; fail "$1 differ"; }
}
# How many names a directory has depends on the file system that it is on.
names() { entries "$1" -printf '%p %y %m %U:%G %n %l\0' | own | sed -E 's/ d ([0-7]+ [0-9:]+) [0-9]+ / d \1 /'; }
content() { entries "$1" -type f -print0 | (cd "$1" && xargs -0 sha256sum) | sed -E 's/^([0-9a-f]+)  (.*)/\2 \1/' | own; }
times() { entries "$1" -type f -printf '%p %Ts\0' | own; }
attributes() { entries "$1" -print0 | (cd "$1" && xargs -0 getfattr -hd -m '^(security|user|system)\.' --absolute-names 2> /dev/null); }
alike "names, kinds, modes, owners or links" names
alike "what is in files" content
alike "times" times
alike "attributes" attributes
count=$(wc -l < "$state/names.seen")
[ "$count" -gt 5000 ] || fail "only $count names were compared"
grep -q 'security.capability' "$state/attributes.seen" || fail "no capability was compared"
echo "passed: $packages packages upgraded, $count names the same"
