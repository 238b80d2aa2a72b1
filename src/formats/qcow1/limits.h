// Every bound of the qcow (version 1) code, in one place. All are the reference implementation's,
// but for those that are said to be ours.
#pragma once

#include <cstdint>

#include "base/sector.h"

namespace qcowkit::qcow1 {

inline constexpr std::uint32_t kClusterBitsMin = 9;
inline constexpr std::uint32_t kClusterBitsMax = 16;
inline constexpr std::uint32_t kL2BitsMin = 6;
inline constexpr std::uint32_t kL2BitsMax = 13;
inline constexpr std::uint64_t kVirtualSizeMin = 2;
inline constexpr std::uint32_t kBackingNameBytesMax = 1023;
/// Ours, since the table is kept in memory: 64 TiB at the usual cluster size. The reference takes
/// eight times as much.
inline constexpr std::uint64_t kL1TableBytesMax = 256u << 20;
/// Files end below this (off_t).
inline constexpr std::uint64_t kFileEnd = std::uint64_t{1} << 63;

}  // namespace qcowkit::qcow1
