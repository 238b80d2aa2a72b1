#!/usr/bin/env bash
# Tests the completion for bash with the tool that was built.
#
#   completion_test.sh QCOW COMPLETION_FILE
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$1" "$work/qcow"
ln -s "$1" "$work/qemu-img"
PATH=$work:$PATH
# shellcheck source=/dev/null
source "$2"
cd "$work"
touch disk.qcow2 disk.raw

failures=0

# offered WORD...: what is offered for the last word of a line, one a line.
offered() {
  COMP_WORDS=("$@")
  COMP_CWORD=$(($# - 1))
  _qcow
  printf '%s\n' "${COMPREPLY[@]}"
}

# offers OFFER WORD...: whether OFFER is among what is offered for the line. All of it is read: grep -q
# ends at the first match, which is an error for whoever still writes.
offers() {
  local offer=$1
  shift
  offered "$@" | grep -xF -e "$offer" >/dev/null
}

# expect OFFER WORD...: OFFER is among what is offered for the line.
expect() {
  local offer=$1
  shift
  if ! offers "$offer" "$@"; then
    printf 'FAILED: %s\n  offers no "%s" but: %s\n' "$*" "$offer" "$(offered "$@" | tr '\n' ' ')"
    failures=$((failures + 1))
  fi
}

# expect_none OFFER WORD...: OFFER is not among them.
expect_none() {
  local offer=$1
  shift
  if offers "$offer" "$@"; then
    printf 'FAILED: %s\n  offers "%s"\n' "$*" "$offer"
    failures=$((failures + 1))
  fi
}

for command in $(__qcow_commands qcow); do
  expect "$command" qcow "${command:0:2}"
  expect --help qcow "$command" --h
  (($(__qcow_options qcow "$command" | wc -l) >= 5)) || {
    echo "FAILED: $command has hardly any options"
    failures=$((failures + 1))
  }
done
(($(__qcow_commands qcow | wc -l) >= 12)) || {
  echo "FAILED: hardly any commands"
  failures=$((failures + 1))
}
expect convert qcow con
expect_none create qcow con
expect --version qcow --v
expect create qcow -T 'l2_*' cr

expect qcow2 qcow create -f q
expect json qcow info --output j
expect json qcow info --output = j
expect json qcow info --output =
expect metadata qcow resize --preallocation = m
expect writeback qcow convert -t w
expect leaks qcow check -r l
expect compression_type= qcow convert -O qcow2 -o comp
expect compat=1.1,cluster_size= qcow create -f qcow2 -o compat=1.1,clu
expect_none cluster_size= qcow create -f raw -o clu
expect preallocation= qcow create -o pre
expect disk.qcow2 qcow info disk.q
expect disk.raw qcow convert -O qcow2 di
expect disk.raw qcow create -b di
expect disk.raw qemu-img info disk.r
complete -p qcow qemu-img >/dev/null

((failures == 0)) || exit 1
