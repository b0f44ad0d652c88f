# shellcheck shell=bash
# A directory for the state of one test's programs, and its end. Sourced.
#   need_test_image: fails plainly where LAYERBOOT_TEST_IMAGE is not set.
#   make_state_dir: sets `state`; when the shell ends, whatever it still runs with it is killed and the directory removed. Where the test
#   has failed, the ends of the consoles are printed first.
#   make_home BUILD_DIR: in `state`, the launcher's data, cache and runtime directories, with the kernels of this machine, so that none
#   is fetched anew; the environment points the launcher there.
#   make_user PROGRAM…: after make_home; a home in `state`, with these programs of the build directory `build` and the test's image,
#   `image`, there. From then on layerboot is run from there by whoever runs the test, or nobody where that is root, whose the state is then.
#   only_users_files: no file of others is there, but for a device `fuse` of the test, and nothing still runs.
#   layerboot ARGUMENT…: the launcher of the build directory `build`, to whose programs the options in `programs` lead after make_home. The
#   bound is for what hangs, no expectation of speed.
#   fail TEXT, same WHAT FOUND WANTED: what is wrong is printed, and ends the test. skip TEXT: so does what a test can't do without.
# shellcheck disable=SC2154 # $build is set by who sources this
become=() users_launcher=
layerboot() { "${become[@]}" timeout --kill-after=60 "${most_minutes:-15}m" "${users_launcher:-$build/launcher/layerboot}" "$@"; }
fail() { echo "FAILED: $*"; exit 1; }
skip() { echo "SKIPPED: $*"; exit 77; }
same() { [ "$2" = "$3" ] || fail "$1: '$2', not '$3'"; }

make_user() {
  mkdir "$state"/{bin,home}
  (cd "$build" && install -m 755 "$@" "$state/bin/")
  cp -r "$LAYERBOOT_TEST_IMAGE" "$state/image"
  # shellcheck disable=SC2034 # for the sourcing script
  image=oci:$state/image:latest
  users_launcher=$state/bin/layerboot
  become=(env -C "$state/home" HOME="$state/home" PATH="$state/bin:/usr/sbin:/usr/bin:/sbin:/bin")
  [ "$(id -u)" = 0 ] || return 0
  chown -R 65534:65534 "$state"
  become+=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
}
only_users_files() {
  if [ "$(id -u)" = 0 ]; then same "files of others" "$(find "$state" ! -user 65534 ! -path "$state/fuse" -print -quit)" ""; fi
  if pgrep -f "$state/bin" > /dev/null; then fail "processes are left"; fi
}

need_test_image() {
  [ -z "${LAYERBOOT_TEST_IMAGE:-}" ] || return 0
  echo "LAYERBOOT_TEST_IMAGE is not set: run ./dev test, or set it to the OCI layout that ./dev image makes"
  exit 1
}

make_state_dir() {
  state=$(mktemp -d "${TMPDIR:-/var/tmp}/layerboot-vm-XXXXXX")
  trap end_state_dir EXIT
}

make_home() {
  local kernels
  kernels=$("$1/launcher/layerboot" kernel --guest-init "$1/guest-init/guest-init")
  mkdir -p "$state"/{data/layerboot/kernels,cache,runtime}
  cp -r "$kernels" "$state/data/layerboot/kernels/"
  export XDG_DATA_HOME=$state/data XDG_CACHE_HOME=$state/cache XDG_RUNTIME_DIR=$state/runtime
  # shellcheck disable=SC2034 # for the sourcing script
  programs=(--vfsd "$1/vfsd/vfsd" --guest-init "$1/guest-init/guest-init")
}

end_state_dir() {
  local status=$? console
  if [ $status != 0 ] && [ $status != 77 ]; then
    for console in "$state"/data/layerboot/vms/*/console.log; do
      [ ! -s "$console" ] || { echo "---- the end of $console"; tail -n 60 "$console" | tr -d '\r'; }
    done
  fi
  # By the state directory's name, which only this run's programs carry on their command lines.
  pkill -KILL -f "$state" || true
  # What is being killed may still make files.
  for ((i = 0; i < 100; ++i)); do
    pgrep -f "$state" > /dev/null || break
    sleep 0.1
  done
  rm -rf --one-file-system "$state"
  exit $status
}
