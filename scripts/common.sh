# shellcheck shell=bash disable=SC2034  # the scripts that source this use what it sets
# What ./quickstart and ./test share: sourced, not run. Expects `set -euo pipefail`.

readonly BUILD_PACKAGES=(g++ cmake ninja-build pkg-config zlib1g-dev libzstd-dev libisal-dev
  libdeflate-dev nettle-dev libfmt-dev nlohmann-json3-dev libnbd-dev
  libgnutls28-dev)
readonly TEST_PACKAGES=(libgtest-dev libbenchmark-dev qemu-utils cryptsetup-bin e2fsprogs
  xfsprogs btrfs-progs clang libclang-rt-dev clang-format python3 dpkg-dev nbdkit
  gnutls-bin libnbd-bin python3-libnbd fio)

if [[ -t 1 ]]; then
  readonly BOLD=$'\e[1m' PLAIN=$'\e[0m'
else
  readonly BOLD='' PLAIN=''
fi

heading() { printf '\n%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# time_since START: in seconds, or milliseconds; START is an earlier value of $EPOCHREALTIME.
time_since() {
  awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN {
    if (to - from < 1) printf "%.0f ms", (to - from) * 1000
    else printf "%.1f s", to - from
  }'
}

# missing_packages PACKAGE...: those that are not installed, one a line.
missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null |
      grep -qx installed || echo "$package"
  done
}

# install_packages PACKAGE...: makes sure that they are there, asking apt only for what is missing.
install_packages() {
  if ! command -v dpkg-query apt-get >/dev/null; then
    echo "This is no Debian system: what these packages hold must be installed already: $*"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} == 0)) && return
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "packages are missing; as root, run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  heading "Installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq ||
    echo "The package lists could not be updated; trying with those that are there."
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "could not install: ${missing[*]}"
}

# configure PRESET [OPTION...]: configures build/PRESET. Says something only if that fails.
configure() {
  local preset=$1 launcher=()
  shift
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  mkdir -p build
  cmake --preset "$preset" "${launcher[@]}" "$@" >"build/configure-$preset.log" 2>&1 || {
    cat "build/configure-$preset.log" >&2
    die "configuring build/$preset failed"
  }
}

# build PRESET [OPTION...]: shows progress on a terminal, else only what went wrong.
build() {
  local preset=$1
  shift
  if [[ -t 1 ]]; then
    cmake --build "build/$preset" "$@" || die "building build/$preset failed"
  else
    cmake --build "build/$preset" "$@" >"build/build-$preset.log" 2>&1 || {
      grep -v '^\[.*\] Building\|^\[.*\] Linking' "build/build-$preset.log" >&2
      die "building build/$preset failed"
    }
  fi
}
