// Every bound of the qcow2 code, in one place. "spec" limits are the format's; the others are the
// reference implementation's, kept so that images interchange and memory stays bounded.
#pragma once

#include <cstdint>

#include "base/sector.h"

namespace qcowkit::qcow2 {

inline constexpr std::uint32_t kClusterBitsMin = 9;                   // spec, Header
inline constexpr std::uint32_t kClusterBitsMax = 21;                  // reference: 2 MiB
inline constexpr std::uint32_t kExtendedL2ClusterBitsMin = 14;        // spec, Header
inline constexpr std::uint32_t kRefcountOrderMax = 6;                 // spec, Header
inline constexpr std::uint64_t kL1TableBytesMax = 32u << 20;          // reference
inline constexpr std::uint64_t kRefcountTableBytesMax = 8u << 20;     // reference
inline constexpr std::uint32_t kBackingNameBytesMax = 1023;           // spec, Header
inline constexpr std::uint32_t kBackingFormatBytesMax = 15;           // reference
inline constexpr std::uint32_t kSnapshotsMax = 65536;                 // reference
inline constexpr std::uint64_t kSnapshotTableBytesMax = 64u << 20;    // reference
inline constexpr std::uint32_t kSnapshotExtraDataBytesMax = 1024;     // reference
inline constexpr std::uint32_t kBitmapsMax = 65535;                   // reference
inline constexpr std::uint64_t kBitmapDirectoryBytesMax = 64u << 20;  // reference
inline constexpr std::uint32_t kBitmapNameBytesMax = 1023;            // reference
inline constexpr std::uint32_t kBitmapGranularityBitsMin = 9;         // reference
inline constexpr std::uint32_t kBitmapGranularityBitsMax = 31;        // reference
inline constexpr std::uint32_t kBitmapTableEntriesMax = 1u << 27;     // reference
inline constexpr std::uint64_t kBitmapDataBytesMax = 512u << 20;      // reference
/// Host offsets in L1 and L2 entries have 56 bits (spec, Cluster mapping).
inline constexpr std::uint64_t kHostOffsetEnd = std::uint64_t{1} << 56;
/// Files end below this (off_t).
inline constexpr std::uint64_t kFileEnd = std::uint64_t{1} << 63;
/// Virtual sizes above this are refused: sums of guest offsets and lengths never overflow.
inline constexpr std::uint64_t kVirtualSizeMax = std::uint64_t{1} << 62;

}  // namespace qcowkit::qcow2
