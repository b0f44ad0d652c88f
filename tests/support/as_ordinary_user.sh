#!/bin/sh
# as_ordinary_user.sh [--needs FILE] PROGRAM [ARGUMENT…]: runs a test program as nobody when started by root, else as who we are.
set -eu
needs=
if [ "$1" = --needs ]; then
  needs=$2
  shift 2
fi
[ "$(id -u)" = 0 ] || exec "$@"
if [ -n "$needs" ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$needs"; then
  echo "skipped: nobody can't reach $needs"
  exit 77
fi
program=$1
shift
# The build tree need not be open to others.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
install -m 755 "$program" "$place/test"
cd /
setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$place/test" "$@"
