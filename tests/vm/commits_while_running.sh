# shellcheck shell=bash
# A guest that writes all the time, and images that are made of it meanwhile. Sourced, after state_dir.sh.
#   commits_while_running VM NAME: as NAME:1 and NAME:2. `oci_mount` is the program; stands_still VM says how one looks that is read.
# shellcheck disable=SC2154 # set by whoever sources this: build, state, oci_mount

# Whole files in an order, each with the number before it in a log: at any moment the log has the last file's number or the one before.
keeps_writing() {
  layerboot exec -d "$1" -- sh -c 'mkdir -p /seq; n=0; while :; do n=$((n + 1)); echo "$n" > /seq/new; mv /seq/new "/seq/$n"; echo "$n" >> /log; done'
}
# is_one_moment NAME: the files are 1 to K, and the log has 1 to K or to K - 1, both with a line each.
is_one_moment() {
  local files lines count
  files=$("$oci_mount" -q ls "$1" /seq | grep -vx new | sort -n)
  lines=$("$oci_mount" -q cat "$1" /log)
  count=$(grep -c . <<< "$files")
  [ "$count" -gt 1 ] || fail "$1: only $count files"
  same "$1: the files" "$files" "$(seq "$count")"
  same "$1: the last file" "$("$oci_mount" -q cat "$1" "/seq/$count")" "$count"
  [ "$lines" = "$(seq "$count")" ] || [ "$lines" = "$(seq $((count - 1)))" ] || fail "$1: of $count files the log ends with $(tail -n 1 <<< "$lines")"
}
goes_on() { # VM
  local before
  before=$(layerboot exec "$1" -- sh -c 'set -- /seq/*; echo $#')
  for ((i = 0; i < 120; ++i)); do
    [ "$(layerboot exec "$1" -- sh -c 'set -- /seq/*; echo $#')" -le "$before" ] || return 0
    sleep 0.5
  done
  fail "$1 does not go on writing"
}
# Twice whole, and once killed in the middle: the VM goes on each time.
commits_while_running() { # VM NAME
  local committing said
  keeps_writing "$1" || fail "exec -d"
  goes_on "$1"
  said=$(layerboot commit -q "$1" --oci-mount "$oci_mount" 2>&1) && fail "a VM that runs was committed without --pause"
  [[ $said == *"commit --pause"* ]] || fail "commit of a VM that runs: $said"
  for number in 1 2; do
    layerboot commit -q --pause "$1" "$2:$number" --oci-mount "$oci_mount" > /dev/null || fail "commit --pause"
    is_one_moment "$2:$number"
    goes_on "$1"
  done
  said=$(layerboot commit -q --pause --rebase "$1" --oci-mount "$oci_mount" 2>&1) && fail "a VM that runs was rebased"
  [[ $said == *"needs it stopped"* ]] || fail "commit --rebase of a VM that runs: $said"
  # By a program that never ends.
  printf '#!/bin/sh\n: > %s/reading\nexec sleep 1000\n' "$state" > "$state/slow-oci-mount"
  chmod +x "$state/slow-oci-mount"
  "$build/launcher/layerboot" commit -q --pause "$1" --oci-mount "$state/slow-oci-mount" &
  committing=$!
  for ((i = 0; i < 600; ++i)); do [ -e "$state/reading" ] && break || sleep 0.1; done
  [ -e "$state/reading" ] || fail "the commit that is to be killed reads nothing"
  stands_still "$1"
  kill -KILL "$committing"
  wait "$committing" || true
  goes_on "$1"
  same "its state" "$(layerboot ps --filter "name=$1" --format '{{.State}}')" running
}
