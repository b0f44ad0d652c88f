#!/bin/sh
# as_ordinary_user.sh PROGRAM [ARGUMENT…]: runs a test program as nobody when started by root, else as who we are.
set -eu
[ "$(id -u)" = 0 ] || exec "$@"
program=$1
shift
# The build tree need not be open to others.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
install -m 755 "$program" "$place/test"
cd /
setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$place/test" "$@"
