#!/usr/bin/env bash
# Tests that an installed library can be used: installs the build in BUILD_DIR into a directory of its
# own, builds the example against it (through CMake or through pkg-config), runs it on a disk and
# compares the copy with the reference's tool.
#
#   install_test.sh cmake|pkg-config BUILD_DIR CXX_COMPILER
set -euo pipefail

way=$1
build_dir=$2
compiler=$3
examples=$(cd "$(dirname "$0")/../examples" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build_dir" --prefix "$prefix" >"$work/install.log"
# Moved after installing: nothing in it may remember where it was made.
mv "$prefix" "$work/moved"
prefix=$work/moved

case $way in
  cmake)
    cmake -S "$examples" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
      -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log"
    cmake --build "$work/build" >"$work/build.log"
    example=$work/build/copy_disk
    ;;
  pkg-config)
    pc_dir=$(dirname "$(find "$prefix" -name qcowkit.pc)")
    export PKG_CONFIG_PATH=$pc_dir
    # shellcheck disable=SC2046  # the flags are words
    "$compiler" -std=c++20 "$examples/copy_disk.cc" $(pkg-config --cflags --libs qcowkit) \
      -Wl,-rpath,"$(pkg-config --variable=libdir qcowkit)" -o "$work/copy_disk"
    example=$work/copy_disk
    ;;
  *)
    echo "unknown way: $way" >&2
    exit 2
    ;;
esac

head -c 300000 "$(command -v "$compiler")" >"$work/disk.raw"
truncate -s 8M "$work/disk.raw"
"$example" "$work/disk.raw" "$work/disk.qcow2"
qemu-img check -q "$work/disk.qcow2"
qemu-img compare -f raw -F qcow2 "$work/disk.raw" "$work/disk.qcow2"

# The other example: what has changed since a bitmap was added, on top of a copy made before.
if [[ $way == cmake ]]; then
  cp "$work/disk.qcow2" "$work/full.qcow2"
  "$prefix/bin/qcow" bitmap --add "$work/disk.qcow2" since
  "$prefix/bin/qcow" io -c "write -P 7 1M 100k" "$work/disk.qcow2" >/dev/null
  "$work/build/incremental_backup" "$work/disk.qcow2" since "$work/full.qcow2" "$work/new.qcow2"
  qemu-img compare -f qcow2 -F qcow2 "$work/disk.qcow2" "$work/new.qcow2"
fi

# The installed tool runs from where it was moved to.
"$prefix/bin/qcow" info "$work/disk.qcow2" | grep "virtual size: 8 MiB"
