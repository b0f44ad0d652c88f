#!/bin/bash
# bash offers for every command what the command's --help lists: its options, and the words that one of them takes.
#   completion_test.sh LAYERBOOT
set -euo pipefail
layerboot=$1
# shellcheck source=/dev/null
source <("$layerboot" completion)

# complete_words WORD...: what is offered for the last of them, a line each, sorted
complete_words() {
  COMP_WORDS=("$layerboot" "$@")
  COMP_CWORD=$#
  _layerboot
  [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sort
}
help_options() { # [COMMAND]: the names in the help's "Options:", a line each, sorted
  "$layerboot" "$@" --help | sed -n '/^Options:/,/^$/s/^  \(-[^ ]*\).*/\1/p' | tr ',' '\n' | sort
}
help_choices() { # COMMAND: "OPTION WORD|WORD…" of those that take one of a few words, a line each
  "$layerboot" "$1" --help | sed -nE '/^Options:/,/^$/s/^  (-[^ ]*) ([^ :]*\|[^ :]*).*/\1 \2/p'
}
wrong=0
same() { # WHAT OFFERED LISTED
  [ "$2" = "$3" ] || { echo "$1: offered against listed in --help"; diff <(echo "$2") <(echo "$3") || true; wrong=1; }
}

verbs=$("$layerboot" --help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | sort)
same "the commands" "$(complete_words "" | grep -v '^-')" "$verbs"
same "the program's options" "$(complete_words -)" "$(help_options)"
count=0
for verb in $verbs; do
  same "$verb" "$(complete_words "$verb" -)" "$(help_options "$verb")"
  while read -r names choices; do
    listed=$(tr '|' '\n' <<< "$choices" | sed 's/[A-Z].*//' | sort)
    for name in ${names//,/ }; do same "$verb $name" "$(complete_words "$verb" "$name" "")" "$listed"; done
    count=$((count + 1))
  done < <(help_choices "$verb")
done
[ "$(wc -w <<< "$verbs")" -ge 20 ] && [ "$count" -ge 8 ] || { echo "found only: $verbs; $count choices"; exit 1; }
same "an option's value" "$(complete_words run --name "")" ""
[ "$wrong" = 0 ] || exit 1
echo "PASSED: $(wc -w <<< "$verbs") commands, $count options with a choice of words"
