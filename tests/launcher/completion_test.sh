#!/bin/bash
# bash offers for every command what the command's --help lists: its options, and the words that one of them takes. zsh and fish take
# the scripts that are made for them, where they are there, and fish offers the same commands.
#   completion_test.sh LAYERBOOT
set -euo pipefail
layerboot=$1
export LAYERBOOT_CONFIG=
# shellcheck source=/dev/null
source <("$layerboot" completion)

# complete_words WORD...: what is offered for the last of them, a line each, sorted
complete_words() {
  COMP_WORDS=("$layerboot" "$@")
  COMP_CWORD=$#
  _layerboot
  [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sort
}
seconds() { # COMMAND: the words that it needs after it, where it is a group
  "$layerboot" "$1" --help | sed -n '/^Subcommands:/,$ s/^  \([a-z][a-z0-9]*\) .*/\1/p'
}
help_options() { # [COMMAND]: the names of options in the help, also of a group's second words, a line each, sorted
  local second
  {
    "$layerboot" "$@" --help
    [ $# = 0 ] || for second in $(seconds "$1"); do "$layerboot" "$1" "$second" --help; done
  } | sed -n 's/^  \(-[^ ]*\).*/\1/p' | tr ',' '\n' | sort -u
}
help_choices() { # COMMAND: "OPTION WORD|WORD…" of those that take one of a few words, a line each
  "$layerboot" "$1" --help | sed -nE 's/^  (-[^ ]*) ([^ :]*\|[^ :]*).*/\1 \2/p'
}
wrong=0
same() { # WHAT OFFERED LISTED
  [ "$2" = "$3" ] || { echo "$1: offered against listed in --help"; diff <(echo "$2") <(echo "$3") || true; wrong=1; }
}

verbs=$("$layerboot" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | sort)
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
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for shell in zsh fish; do
  "$layerboot" completion "$shell" > "$work/script"
  for verb in $verbs; do
    grep -qE "(^ {4}|-a |_from )$verb(\)|'| |\$)" "$work/script" || { echo "$shell: no $verb"; wrong=1; }
  done
  command -v "$shell" > /dev/null || { echo "$shell is not installed: its script was only looked at"; continue; }
  "$shell" -n "$work/script" || { echo "$shell does not take its script"; wrong=1; }
done
if command -v fish > /dev/null; then
  offered() { HOME=$work PATH=$(dirname "$layerboot"):$PATH fish -N -c "source $work/script; complete -C 'layerboot $1'" | cut -f1 | grep -v '^-' | sort; }
  same "fish: the commands" "$(offered "")" "$verbs"
  same "fish: a choice" "$(offered "run --upper " | tr '\n' ' ')" "disk host ram "
fi
[ "$wrong" = 0 ] || exit 1
echo "PASSED: $(wc -w <<< "$verbs") commands, $count options with a choice of words"
