#!/usr/bin/env bash
# Tests the Debian package: makes it from the build in BUILD_DIR, unpacks it, and uses what is in it.
#
#   package_test.sh BUILD_DIR
set -euo pipefail

build_dir=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

(cd "$build_dir" && cpack -G DEB -B "$work" >"$work/cpack.log" 2>&1) || {
  cat "$work/cpack.log" >&2
  fail "cpack"
}
packages=("$work"/*.deb)
((${#packages[@]} == 1)) || fail "not one package but ${#packages[@]}"
package=${packages[0]}

# What it says of itself: the libraries that the tool loads are among what it depends on.
[[ $(dpkg-deb --field "$package" Package) == qcowkit ]] || fail "the package has another name"
depends=$(dpkg-deb --field "$package" Depends)
for library in libc6 libisal2; do
  [[ $depends == *"$library"* ]] || fail "does not depend on $library: $depends"
done

# No file of it is in the way of the reference's.
dpkg-deb --contents "$package" | awk '{ print $6 }' >"$work/files"
! grep -E '^\./usr/(s?bin|share/man/man[18])/qemu-' "$work/files" || fail "in the reference's way"

dpkg-deb --extract "$package" "$work/root"
usr=$work/root/usr
"$usr/bin/qcow" create -q -f qcow2 "$work/disk.qcow2" 8M
"$usr/bin/qcow" info "$work/disk.qcow2" | grep 'virtual size: 8 MiB' >/dev/null || fail "qcow info"
"$usr/lib/qcowkit/qemu-links/qemu-img" --version | grep '^qemu-img version' >/dev/null || fail "qemu-img"
for page in qcow qcow-convert qcow-create; do
  [[ -s $usr/share/man/man1/$page.1 ]] || fail "no manual page $page"
done
[[ -s $usr/share/bash-completion/completions/qcow ]] || fail "no completion"
[[ -s $usr/share/doc/qcowkit/copyright ]] || fail "no copyright"
[[ -s $usr/include/qcowkit/image.h ]] || fail "no headers"
[[ -n $(find "$usr/lib" -name "libqcowkit.*") ]] || fail "no library"
