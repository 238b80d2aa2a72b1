// The two address spaces, as types: a guest offset never meets a host offset by accident.
#pragma once

#include <compare>
#include <cstdint>

namespace qcowkit {

/// An offset in bytes in one of the address spaces. A difference gives bytes; adding bytes gives
/// an offset; nothing else compiles.
template <typename Space>
struct Offset {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(Offset, Offset) = default;
  friend constexpr Offset operator+(Offset o, std::uint64_t bytes) { return {o.value + bytes}; }
  friend constexpr std::uint64_t operator-(Offset a, Offset b) { return a.value - b.value; }
  constexpr Offset& operator+=(std::uint64_t bytes) {
    value += bytes;
    return *this;
  }
};

/// Where the virtual disk's reader thinks a byte is.
using GuestOffset = Offset<struct GuestSpace>;
/// Where a byte lies in the image's file (or its external data file).
using HostOffset = Offset<struct HostSpace>;

}  // namespace qcowkit
