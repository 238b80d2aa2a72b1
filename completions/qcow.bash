# Completion of qcow in bash, and of qemu-img where that name is a link to qcow. The tool itself tells
# which commands and options there are, so that this file need not know them.
# shellcheck shell=bash

# __qcow_commands TOOL: the commands that the tool's help lists.
__qcow_commands() {
  "$1" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

# __qcow_options TOOL COMMAND: the options in the left column of the command's help.
__qcow_options() {
  "$1" "$2" --help 2>/dev/null | sed -n '/^Options:/,/^$/{s/^  \(-[^ ].*\)/\1/;s/  .*//;p}' |
    grep -oE -e '(^|[ ,])--?[[:alnum:]][[:alnum:]-]*' | tr -d ' ,'
}

# __qcow_takes_value TOOL COMMAND OPTION: whether the help shows a value behind the option.
__qcow_takes_value() {
  "$1" "$2" --help 2>/dev/null | grep -E -e "^  (-., )?$3[ =][A-Z]" -e "^  $3, --[a-z-]+=" >/dev/null
}

# __qcow_create_options TOOL FORMAT: what -o knows for the format.
__qcow_create_options() {
  "$1" create -f "$2" -o help disk 2>/dev/null | sed -n 's/^  \([a-z0-9_.-]*\)=.*/\1=/p'
}

# __qcow_option_values COMMAND OPTION: words that may follow the option; nothing: it is a file or free text.
__qcow_option_values() {
  case $2 in
    -f | -O | -F | -B | --format | --target-format | --backing-format) echo "qcow2 raw qcow luks" ;;
    -t | --cache | --target-cache) echo "writeback none writethrough directsync unsafe" ;;
    -T | --source-cache) [[ $1 == qcow ]] || echo "writeback none writethrough directsync unsafe" ;;
    --output) [[ $1 == draw ]] && echo "human json svg" || echo "human json" ;;
    --preallocation) echo "off metadata falloc full" ;;
    -r | --repair) [[ $1 == check ]] && echo "leaks all" ;;
    -i | --aio) echo "threads native io_uring" ;;
    -d | --discard) [[ $1 == io ]] && echo "unmap ignore" ;;
    --object) echo "secret,id=" ;;
  esac
}

# __qcow_format: the format that the line so far asks for.
__qcow_format() {
  local i format=raw
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -f | -O) format=${COMP_WORDS[i + 1]} ;;
      -f?* | -O?*) format=${COMP_WORDS[i]:2} ;;
    esac
  done
  echo "$format"
}

# __qcow_reply WORDS CURRENT: those of the words that CURRENT may become.
__qcow_reply() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_qcow() {
  local tool=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command=qcow words i
  COMPREPLY=()
  # The command is the first word that is no option of the tool's own.
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -T | --trace) ((i++)) ;;
      -*) ;;
      *) command=${COMP_WORDS[i]} && break ;;
    esac
  done
  if [[ $command == qcow ]]; then
    if [[ $current == -* ]]; then
      __qcow_reply "-h --help -V --version -T --trace" "$current"
    else
      __qcow_reply "$(__qcow_commands "$tool")" "$current"
    fi
    return
  fi

  # "--output=json" comes as three words where = separates words.
  if [[ $previous == "=" ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $current == "=" ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 1]} current=
  fi
  if [[ $previous == -o ]]; then
    # A list: only what is behind the last comma is completed.
    local list=
    [[ $current == *,* ]] && list=${current%,*},
    words=$(__qcow_create_options "$tool" "$(__qcow_format)")
    mapfile -t COMPREPLY < <(compgen -P "$list" -W "$words" -- "${current##*,}")
    compopt -o nospace 2>/dev/null
    return
  fi
  words=$(__qcow_option_values "$command" "$previous")
  if [[ -n $words ]]; then
    __qcow_reply "$words" "$current"
    return
  fi
  if [[ $previous == -[[:alpha:]-]* ]] && __qcow_takes_value "$tool" "$command" "$previous"; then
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    __qcow_reply "$(__qcow_options "$tool" "$command")" "$current"
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    compopt -o filenames 2>/dev/null
  fi
}

complete -F _qcow qcow
# Only where it is this tool that goes by the reference's name.
if [[ $(readlink -f -- "$(type -P qemu-img)" 2>/dev/null) == */qcow ]]; then
  complete -F _qcow qemu-img
fi
