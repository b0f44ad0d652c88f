# What the verbs of ./dev share. Sourced, with $root set and the repository as the working directory.
# shellcheck shell=bash

# Where the programs that users run are built; LAYERBOOT_BUILD names a build that is there already, for tests.
# shellcheck disable=SC2034 # for who sources this
programs=${LAYERBOOT_BUILD:-$root/build/release}
readonly programs

die() {
  printf 'dev: %s\n' "$*" >&2
  exit 1
}

# The state directory of the programs (oci-mount/base/state_dirs.h).
data_dir() {
  if [[ ${XDG_DATA_HOME:-} == /* ]]; then
    echo "$XDG_DATA_HOME/layerboot"
  elif [ "$(id -u)" = 0 ]; then
    echo /var/lib/layerboot
  else
    echo "$HOME/.local/share/layerboot"
  fi
}

runtime_dir() {
  if [[ ${XDG_RUNTIME_DIR:-} == /* ]]; then
    echo "$XDG_RUNTIME_DIR/layerboot"
  elif [ "$(id -u)" = 0 ]; then
    echo /run/layerboot
  else
    echo "$(data_dir)/run"
  fi
}

serving_socket() { echo "$(runtime_dir)/virtiofs.sock"; }

# Installs only when something is missing, so that everyday runs need neither apt nor root.
ensure_setup() { [ -n "${LAYERBOOT_BUILD:-}" ] || "$root/scripts/dev.d/setup.sh" --if-missing >&2; }

# build PRESET [TARGET…]
build() {
  [ -z "${LAYERBOOT_BUILD:-}" ] || return 0
  local preset=$1
  shift
  if [ ! -f "$root/build/$preset/build.ninja" ]; then
    local output
    output=$(cmake --preset "$preset" 2>&1) || die "configuring failed:"$'\n'"$output"
  fi
  cmake --build --preset "$preset" ${1:+--target "$@"} >&2
}

prepare_programs() {
  ensure_setup
  build release layerboot vfsd oci-mount guest-init foreign_guest_inits
}

# Builds the default image unless it is there; prints its reference.
default_image() {
  local directory
  directory="$(data_dir)/images/demo"
  [ -e "$directory/index.json" ] || "$root/scripts/dev.d/image.sh" "$directory" >&2
  echo "oci:$directory:latest"
}

# The default image unpacked, once; prints the directory.
default_directory() {
  local bundle image options=()
  bundle="$(data_dir)/images/demo-unpacked"
  if [ ! -d "$bundle" ]; then
    image=$(default_image)
    rm -rf "$bundle.part"
    [ "$(id -u)" = 0 ] || options=(--rootless)
    umoci unpack "${options[@]}" --image "${image#oci:}" "$bundle.part" >&2
    mv "$bundle.part" "$bundle"
  fi
  echo "$bundle/rootfs"
}
