#!/bin/bash
# Builds an image of Debian packages as an OCI layout with three gzip layers, tag `latest`: the default one is a systemd system,
# `docker` the same with a Docker engine; `programs` is no machine, but what runs one in a container: QEMU, and the libraries of
# the PROGRAMs, which are not in it.
#
#   image.sh OUT_DIR [default|docker|programs PROGRAM...]
#
# Everything comes from Debian packages, through this machine's own apt configuration, and of this machine's own release
# (12 or 13; on another system, of the newest of them that its apt knows). A finished OUT_DIR is kept and
# not built again; an unfinished one never has the name. Works as root, or as a user who has user namespaces and a
# range in /etc/subuid.
set -euo pipefail

readonly releases="trixie bookworm" # newest first
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# What a systemd machine needs over the minimal base, and what a person at its console expects.
readonly packages="systemd systemd-sysv dbus udev kmod iproute2 iputils-ping procps less nano ca-certificates login"
readonly docker_packages="docker.io containerd runc iptables"
# mkfs.ext4 makes the disks of --upper disk.
readonly program_packages="qemu-system-x86 e2fsprogs"

say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The release to build. On another system than Debian no codename of its own is among the releases.
choose_suite() {
  local own known suite
  own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  known=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(CODENAME) $(COMPONENT)')
  for suite in $own $releases; do
    if [[ " $releases " == *" $suite "* ]] && grep -qxF "Packages Debian $suite main" <<< "$known"; then
      echo "$suite"
      return
    fi
  done
  die "this machine's apt has no package lists of Debian (${releases// / or }): add a release to its sources and run apt-get update"
}

# The machine's own Debian sources as one-line entries. Other origins, and other releases, stay out of the image.
debian_sources() {
  apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk -v keyring="$keyring" -v suite="$suite" '
      $1 == "Packages" && $2 == "Debian" && ($3 == suite || $3 == suite "-updates" || $3 == suite "-security") &&
      $4 !~ /^cdrom:/ && !seen[$0]++ { print "deb [signed-by=" keyring "] " $4, $5, $6 }'
}

# The packages of the libraries that programs of this machine are linked with. A library may be installed by a path that leads to
# another one, as on a merged /usr.
library_packages() {
  local library
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | while read -r library; do
    dpkg-query -S "$library" 2> /dev/null || dpkg-query -S "/usr$library" 2> /dev/null || dpkg-query -S "${library#/usr}" ||
      die "$library is of no package: programs for a container have to be linked with Debian's"
  done | sed 's/:.*//' | sort -u
}

[ $# = 1 ] || [ $# = 2 ] || [ "${2:-}" = programs ] || die "usage: image.sh OUT_DIR [default|docker|programs PROGRAM...]"
out=$(realpath -m -- "$1")
kind=${2:-default}
shift $(($# > 1 ? 2 : 1))
if [ -e "$out/index.json" ]; then
  say "$out is there already; remove it to build it again"
  exit 0
fi
[ ! -e "$out" ] || die "$out exists and is not an OCI layout: remove it or name another directory"
for tool in mmdebstrap umoci tar find; do
  command -v "$tool" > /dev/null || die "$tool is missing: run ./dev setup, or apt-get install $tool"
done
[ -r "$keyring" ] || die "$keyring is missing: apt-get install debian-archive-keyring"
if [ "$(id -u)" != 0 ]; then
  grep -q "^\($(id -un)\|$(id -u)\):" /etc/subuid 2> /dev/null && unshare --user true 2> /dev/null ||
    die "needs root, or user namespaces and a range for $(id -un) in /etc/subuid: run it with sudo, or see subuid(5)"
fi
suite=$(choose_suite)
case $kind in
  default) chosen=$packages ;;
  docker)
    chosen="$packages $docker_packages"
    [ "$suite" = bookworm ] || chosen+=" docker-cli"  # a package of its own since Debian 13
    ;;
  programs)
    libraries=$(library_packages "$@")
    chosen="$program_packages ${libraries//$'\n'/ }"
    ;;
  *) die "no kind of image '$kind': default, docker or programs" ;;
esac
sources=$(debian_sources)

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.building-XXXXXX")
# The builder's pid namespace or signals can leave nothing behind: the directory goes, whatever stopped us.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 0755 "$work"

say "building from the packages of Debian $suite in $work (a few minutes)"
# Copied, because the namespace's root need not be able to read the checkout.
install -m 0755 "$(dirname "$(realpath "$0")")/image_layers.sh" "$work/"
printf '%s\n' "$sources" > "$work/sources.list"
mmdebstrap --quiet --mode=auto --variant=minbase --format=null \
  --skip=cleanup/apt,cleanup/reproducible \
  --customize-hook="bash '$work/image_layers.sh' \"\$1\" $kind $chosen" \
  --customize-hook="download /layers/1.tar '$work/1.tar'" \
  --customize-hook="download /layers/2.tar '$work/2.tar'" \
  --customize-hook="download /layers/3.tar '$work/3.tar'" \
  "$suite" - - < "$work/sources.list" > "$work/mmdebstrap.log" \
  2> >(tee -a "$work/mmdebstrap.err" | grep --line-buffered '^image: ' >&2) ||
  { grep -v '^image: ' "$work/mmdebstrap.err" >&2; die "mmdebstrap failed; its messages are above"; }

say "compressing the layers"
layout=$work/layout
umoci init --layout "$layout"
umoci new --image "$layout:latest"
for layer in 1 2 3; do
  umoci raw add-layer --image "$layout:latest" --history.created_by "image.sh, layer $layer" "$work/$layer.tar"
done
umoci config --image "$layout:latest" --config.cmd /sbin/init --architecture amd64 --os linux \
  --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umoci gc --layout "$layout"
mv -T "$layout" "$out"
say "done: oci:$out:latest, $(du -sh "$out" | cut -f1) in three layers"
