// One entry of an L2 table, standard or extended (qcow2 spec, Cluster mapping and Extended L2
// Entries), and the closed set of things that it can mean. No I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"
#include "base/offsets.h"
#include "formats/qcow2/geometry.h"

namespace qcowkit::qcow2 {

/// An entry's bits as they are on disk (in host byte order).
struct RawL2Entry {
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kCompressed = std::uint64_t{1} << 62;
  static constexpr std::uint64_t kZero = 1;  // standard entries of version 3
  static constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
  static constexpr std::uint64_t kReservedMask = 0x3f000000000001fe;

  std::uint64_t descriptor = 0;
  std::uint64_t subcluster_bitmap = 0;  ///< extended entries only, else 0

  friend constexpr bool operator==(RawL2Entry, RawL2Entry) = default;

  static RawL2Entry load(const std::byte* slice, std::uint64_t index, const Geometry& g) noexcept {
    const std::byte* at = slice + (index << g.l2_entry_bits());
    return {load_big_endian<std::uint64_t>(at),
            g.extended_l2() ? load_big_endian<std::uint64_t>(at + 8) : 0};
  }
  void store(std::byte* slice, std::uint64_t index, const Geometry& g) const noexcept {
    std::byte* at = slice + (index << g.l2_entry_bits());
    store_big_endian(at, descriptor);
    if (g.extended_l2()) store_big_endian(at + 8, subcluster_bitmap);
  }
};

/// What the entries of one image may say beyond their shape.
struct L2Rules {
  Geometry geometry;
  bool zero_flag;  ///< version 3 without extended entries
  bool data_file;  ///< host offset 0 is a place like any other
};

/// What an L2 entry means. The subclusters of a standard cluster are each allocated, zero or
/// (neither bit) unallocated:
///
///   allocated  zero   read                      host cluster
///       0       0     backing file, or zeroes   may be there (preallocated)
///       1       0     host cluster              there
///       0       1     zeroes                    may be there (preallocated)
///       1       1     -- invalid --
struct L2Mapping {
  enum class Kind : std::uint8_t { standard, compressed, invalid };

  Kind kind = Kind::standard;
  bool copied = false;  ///< refcount is exactly one: may be written in place
  bool has_host_cluster = false;
  HostOffset host_offset{};     ///< standard: the host cluster; compressed: the stream's first byte
  std::uint32_t allocated = 0;  ///< a bit for each subcluster
  std::uint32_t zero = 0;       ///< a bit for each subcluster
  std::uint32_t compressed_bytes = 0;   ///< upper bound of the compressed stream's length
  const char* what_is_wrong = nullptr;  ///< with `invalid`

  /// Never fails: what contradicts the specification is `invalid`, with the reason.
  static L2Mapping decode(RawL2Entry raw, const L2Rules& rules) noexcept;
  /// The entry of a standard mapping (`kind` is `standard`).
  RawL2Entry encode(const L2Rules& rules) const noexcept;

  /// The entry of a compressed cluster whose stream has `bytes` bytes from `host_offset` on; the
  /// offset must be below `compressed_offset_end`.
  static RawL2Entry encode_compressed(HostOffset host_offset, std::uint64_t bytes,
                                      const Geometry& g) noexcept;
  /// Compressed streams must begin below this host offset.
  static std::uint64_t compressed_offset_end(const Geometry& g) noexcept;
};

}  // namespace qcowkit::qcow2
