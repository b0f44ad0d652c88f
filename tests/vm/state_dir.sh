# shellcheck shell=bash
# A directory for the state of one test's programs, and its end. Sourced.
#   make_state_dir: sets `state`; when the shell ends, whatever it still runs with it is killed and the directory removed. Where the test
#   has failed, the ends of the consoles are printed first.
make_state_dir() {
  state=$(mktemp -d "${TMPDIR:-/tmp}/layerboot-vm-XXXXXX")
  trap end_state_dir EXIT
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
  rm -rf "$state"
  exit $status
}
