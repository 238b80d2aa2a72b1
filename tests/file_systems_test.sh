#!/usr/bin/env bash
# Tests the tool on a real file system (or a device with sectors of 4 KiB) of its own, side by side with
# the reference's programs: copies in every cache mode, shared blocks, space that is reserved and given
# back, requests that fit no block, a medium that gets full, locks.
#
#   file_systems_test.sh ext4|xfs|btrfs|tmpfs|device QCOW
#
# Ends with 77 where such a file system cannot be made or mounted.
set -euo pipefail
export LC_ALL=C

kind=$1
qcow=$(realpath "$2")
readonly MIB=$((1 << 20))

work=$(mktemp -d)
loop=
clean_up() {
  cd /
  mountpoint -q "$work/mounted" && umount "$work/mounted"
  [[ -z $loop ]] || losetup -d "$loop"
  rm -rf "$work"
}
trap clean_up EXIT

skip() {
  echo "skipped: $*"
  exit 77
}

fail() {
  echo "FAILED on $kind: $*" >&2
  exit 1
}

# refused TEXT COMMAND...: it ends with exit code 1 and a message that has the text.
refused() {
  local text=$1 status=0
  shift
  "$@" >"$work/refused.txt" 2>&1 || status=$?
  [[ $status == 1 ]] || fail "exit code $status of: $*"
  grep -qF "$text" "$work/refused.txt" || fail "not told: '$text' but: $(cat "$work/refused.txt")"
}

attach() {
  truncate -s "$1" "$work/medium"
  loop=$(losetup --sector-size "$2" -f --show "$work/medium" 2>"$work/log") ||
    skip "no loop device: $(cat "$work/log")"
}

mount_it() {
  mkdir "$work/mounted"
  case $kind in
    tmpfs) mount -t tmpfs -o size=400m tmpfs "$work/mounted" 2>"$work/log" ;;
    *)
      command -v "mkfs.$kind" >/dev/null || skip "no mkfs.$kind"
      attach 400M 512
      "mkfs.$kind" -q "$loop" >"$work/log" 2>&1 && mount "$loop" "$work/mounted" 2>"$work/log"
      ;;
  esac || skip "no $kind: $(tail -n 1 "$work/log")"
}

# Bytes of the file that another file has, too.
shared_bytes() {
  sync "$1"
  filefrag -v "$1" | awk '/shared/ { gsub(/[:.]+/, " "); blocks += $3 - $2 + 1 } END { print blocks * 4096 }'
}

# Host space that a file has. XFS adds what it has reserved beyond the end for a while.
occupied_bytes() {
  if [[ $kind == xfs ]]; then
    sync "$1"
    filefrag -v "$1" | awk -v size="$(stat -c %s "$1")" '/^ *[0-9]+: / {
        gsub(/[:.]+/, " ")
        if ($2 * 4096 < size) blocks += $3 - $2 + 1
      } END { print blocks * 4096 }'
  else
    echo $(($(stat -c '%b * %B' "$1")))
  fi
}

# Real content, a hole, noise, and an end that fits no block.
make_disk() {
  head -c $((3 * MIB)) "$qcow" >disk.raw
  truncate -s $((8 * MIB)) disk.raw
  head -c $((33 * MIB + 512)) /dev/urandom >>disk.raw
}

copies_in_every_cache_mode() {
  local mode
  for mode in none directsync writethrough writeback unsafe; do
    "$qcow" convert -T "$mode" -t "$mode" -f raw -O qcow2 disk.raw copy.qcow2
    "$qcow" convert -T "$mode" -t "$mode" -f qcow2 -O raw copy.qcow2 back.raw
    cmp disk.raw back.raw || fail "copied with $mode"
    qemu-img check -q copy.qcow2 || fail "check of what was copied with $mode"
    qemu-img compare -q -f raw -F qcow2 disk.raw copy.qcow2 || fail "compare after $mode"
  done
  [[ $(occupied_bytes copy.qcow2) -le $((37 * MIB)) ]] || fail "the hole occupies space"
  rm copy.qcow2 back.raw
}

# Copies of whole clusters take next to no space where the file system can share them.
blocks_are_shared() {
  [[ $kind == xfs || $kind == btrfs ]] || return 0
  "$qcow" convert -f raw -O qcow2 disk.raw shared.qcow2
  "$qcow" convert -f qcow2 -O raw shared.qcow2 shared.raw
  [[ $(shared_bytes shared.raw) -ge $((35 * MIB)) ]] || fail "shared is only: $(shared_bytes shared.raw)"
  # What is shared is copied on writing: the source stays.
  "$qcow" io -f raw -c "write -P 0x5a 10M 5M" shared.raw >/dev/null
  qemu-img compare -q -f raw -F qcow2 disk.raw shared.qcow2 || fail "a write went through to the source"
  rm shared.raw shared.qcow2
}

space_is_reserved_and_given_back() {
  local mode
  for mode in falloc full; do
    "$qcow" create -q -f qcow2 -o preallocation=$mode reserved.qcow2 30M
    [[ $(occupied_bytes reserved.qcow2) -ge $((30 * MIB)) ]] || fail "$mode reserves nothing"
    qemu-img check -q reserved.qcow2 || fail "check after $mode"
    "$qcow" resize -q --preallocation=$mode reserved.qcow2 40M
    [[ $(occupied_bytes reserved.qcow2) -ge $((40 * MIB)) ]] || fail "growing with $mode reserves nothing"
    qemu-img check -q reserved.qcow2 || fail "check after growing with $mode"
  done
  "$qcow" create -q -f qcow2 -o preallocation=metadata reserved.qcow2 30M
  [[ $(occupied_bytes reserved.qcow2) -le $((2 * MIB)) ]] || fail "metadata only, but it occupies more"

  if [[ $kind == xfs ]]; then
    # What it had reserved beyond a file's end, XFS takes back only if the file is not marked with a p.
    "$qcow" create -q -f qcow2 grown.qcow2 64M
    "$qcow" io -c "write -P 1 0 20M" grown.qcow2 >/dev/null
    [[ $(xfs_io -r -c lsattr grown.qcow2) != *p*grown* ]] || fail "marked as preallocated"
    rm grown.qcow2
  fi

  "$qcow" create -q -f qcow2 given.qcow2 64M
  "$qcow" io -d unmap -c "write -P 1 0 20M" -c "discard 0 20M" given.qcow2 >/dev/null
  [[ $(occupied_bytes given.qcow2) -le $((2 * MIB)) ]] || fail "a discard gives nothing back"
  rm reserved.qcow2 given.qcow2
}

# IMAGE FORMAT: what fits no block of the medium is read and written all the same, past its cache too.
requests_that_fit_no_block() {
  "$qcow" io -t none -f "$2" -c "write -P 1 0 1M" -c "write -P 2 333 777" -c "write -P 3 4095 2" \
    -c "write -P 4 65535 8193" -c "write -z 20000 1000" "$1" >/dev/null
  qemu-io -f "$2" -c "read -P 1 0 333" -c "read -P 2 333 777" -c "read -P 1 1110 2985" \
    -c "read -P 3 4095 2" -c "read -P 0 20000 1000" -c "read -P 1 21000 44535" \
    -c "read -P 4 65535 8193" -c "read -P 1 73728 974848" "$1" >"$work/io.txt"
  ! grep -F "verification failed" "$work/io.txt" || fail "odd requests in $2"
}

# What was there stays, is whole, and takes writes again once there is room.
a_full_medium() {
  [[ $kind != device ]] || return 0
  "$qcow" create -q -f qcow2 kept.qcow2 300M
  "$qcow" io -c "write -P 7 0 10M" kept.qcow2 >/dev/null
  head -c 1G /dev/zero | tr '\0' 'x' >filler 2>/dev/null || true
  refused "No space left on device" "$qcow" io -c "write -P 8 20M 200M" kept.qcow2
  refused "No space left on device" "$qcow" convert -f raw -O qcow2 disk.raw new.qcow2
  rm -f filler
  "$qcow" check kept.qcow2 >/dev/null || fail "damaged by a full medium"
  "$qcow" io -c "read -P 7 0 10M" -c "write -P 9 20M 30M" kept.qcow2 >"$work/io.txt" || fail "no writes after"
  ! grep -F "verification failed" "$work/io.txt" || fail "lost by a full medium"
  qemu-img check -q kept.qcow2 || fail "check after a full medium"
  rm -f kept.qcow2 new.qcow2
}

# IMAGE: one writer at a time, whichever program it is.
locks_hold() {
  coproc writer { qemu-io -f qcow2 "$1" 2>&1; }
  echo "length" >&"${writer[1]}"
  read -r -u "${writer[0]}"
  refused "lock" "$qcow" io -f qcow2 -c "write 0 512" "$1"
  echo "quit" >&"${writer[1]}"
  # shellcheck disable=SC2154  # set by coproc
  wait "$writer_PID"
  "$qcow" io -f qcow2 -c "write 0 512" "$1" >/dev/null || fail "locked for good"
}

own_options() {
  [[ $kind == btrfs ]] || return 0
  "$qcow" create -q -f qcow2 -o nocow=on nocow.qcow2 1G
  [[ $(lsattr nocow.qcow2) == *C*nocow.qcow2 ]] || fail "nocow is not set"
}

on_a_file_system() {
  mount_it
  cd "$work/mounted"
  make_disk
  copies_in_every_cache_mode
  blocks_are_shared
  space_is_reserved_and_given_back
  "$qcow" create -q -f qcow2 odd.qcow2 64M
  requests_that_fit_no_block odd.qcow2 qcow2
  locks_hold odd.qcow2
  truncate -s 64M odd.raw
  requests_that_fit_no_block odd.raw raw
  rm odd.qcow2 odd.raw
  own_options
  a_full_medium
}

# An image that lies on a device as a whole.
on_a_device() {
  attach 200M 4096
  cd "$work"
  make_disk
  "$qcow" create -q -f qcow2 "$loop" 64M
  requests_that_fit_no_block "$loop" qcow2
  locks_hold "$loop"
  local mode
  for mode in none directsync writeback; do
    "$qcow" convert -n -T none -t "$mode" -f raw -O qcow2 disk.raw "$loop"
    qemu-img compare -q -f raw -F qcow2 disk.raw "$loop" || fail "copied to a device with $mode"
    qemu-img check -q -f qcow2 "$loop" || fail "check of a device"
    "$qcow" convert -T "$mode" -f qcow2 -O raw "$loop" back.raw
    cmp -n "$(stat -c %s disk.raw)" disk.raw back.raw || fail "copied from a device with $mode"
  done
  "$qcow" convert -n -t none -f raw -O raw disk.raw "$loop"
  cmp -n "$(stat -c %s disk.raw)" disk.raw "$loop" || fail "raw copy to a device"
  requests_that_fit_no_block "$loop" raw
}

[[ $(id -u) == 0 ]] || skip "mounting needs root"
if [[ $kind == device ]]; then
  on_a_device
else
  on_a_file_system
fi
echo "passed on $kind"
