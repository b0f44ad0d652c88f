#!/bin/bash
# Every command and every option that the program describes itself by is in its man pages.
#   man_page_test.sh LAYERBOOT MAN_PAGE...
set -euo pipefail
layerboot=$1
shift
text=$(sed 's/\\-/-/g; s/\\f.//g' "$@")
missing=0
need() {
  grep -qE -- "(^|[^a-z-])$2([^a-z-]|\$)" <<< "$text" || { echo "not in the man pages: $2, of $1"; missing=1; }
}
commands=0
while IFS= read -r line; do
  command=${line%%)*}
  options=${line#*options=\'}
  options=${options%%\'*}
  command=${command// /}
  commands=$((commands + 1))
  need layerboot "$command"
  for option in $options; do need "$command" "$option"; done
done < <("$layerboot" completion | grep -E "^ +[a-z]+\) options='")
[ "$commands" -ge 20 ] || { echo "only $commands commands were found"; exit 1; }
[ "$missing" = 0 ] || exit 1
echo "PASSED: $commands commands"
