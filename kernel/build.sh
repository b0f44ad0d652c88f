#!/bin/bash
# Builds a kernel from Debian's linux-source with the fragments beside this script.
#   build.sh OUT_TREE      makes boot/{vmlinuz,config}-RELEASE and lib/modules/RELEASE there
# The sources are unpacked beside OUT_TREE; who calls removes them. Lowest priority: other work goes first.
set -euo pipefail
here=$(cd "$(dirname "$(realpath "$0")")" && pwd)
readonly here
tree=$(realpath -m "${1:?the directory to make}")
work=$(dirname "$tree")/kernel-build
say() { printf 'kernel: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

for tool in make gcc flex bison bc lz4 xz; do
  command -v $tool > /dev/null || die "$tool is missing: apt install build-essential flex bison bc lz4 xz-utils libelf-dev"
done
# 6.1 in Debian 12, 6.12 in Debian 13.
package=$(apt-cache depends linux-source 2> /dev/null | sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1 || true)
[ -n "$package" ] || die "apt knows no linux-source: it needs a source of Debian 12 or 13 (and apt-get update)"
[ -e /usr/include/gelf.h ] || die "the headers of libelf are missing: apt install libelf-dev"
mkdir -p "$work"
archive=/usr/src/$package.tar.xz
if [ ! -r "$archive" ]; then
  (cd "$work" && apt-get -q download "$package" >&2 && dpkg-deb -x "$package"*.deb package) ||
    die "no sources: apt install $package"
  archive=$work/package/usr/src/$package.tar.xz
fi
tar -C "$work" -xf "$archive"
cd "$work/$package"
# The reasons behind the lines are for people.
sed -n 's/^\(CONFIG_[^ ]*\) .*/\1/p' "$here"/*.config > "$work/wanted"
# Later names of options, and what says the same.
while read -r option now; do
  grep -rqx --include='Kconfig*' "config ${option%=*}" . || sed -i "s/^CONFIG_$option\$/CONFIG_$now/" "$work/wanted"
done << 'NAMES'
RETPOLINE=y MITIGATION_RETPOLINE=y
PAGE_TABLE_ISOLATION=y MITIGATION_PAGE_TABLE_ISOLATION=y
BASE_FULL=y BASE_SMALL=n
NAMES
make -s allnoconfig KCONFIG_ALLCONFIG="$work/wanted"
# A wish that another option forbids is dropped in silence.
lost=
while IFS= read -r line; do
  case $line in
    *=n) if grep -q "^${line%n}" .config; then lost+=" $line"; fi ;;
    *) grep -qxF "$line" .config || lost+=" $line" ;;
  esac
done < "$work/wanted"
[ -z "$lost" ] || die "these did not survive in this version:$lost"
say "building $(make -s kernelversion) on $(nproc) processors"
nice -n 19 make -s -j"$(nproc)" bzImage modules
release=$(make -s kernelrelease)
make -s modules_install INSTALL_MOD_PATH="$tree" INSTALL_MOD_STRIP=1 DEPMOD=true > /dev/null
rm -f "$tree/lib/modules/$release/build" "$tree/lib/modules/$release/source"
mkdir -p "$tree/boot"
cp arch/x86/boot/bzImage "$tree/boot/vmlinuz-$release"
cp .config "$tree/boot/config-$release"
say "built $release"
