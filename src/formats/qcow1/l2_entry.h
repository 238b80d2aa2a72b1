// L2 entries: what a guest cluster is stored as (docs/qcow1.md, Tables). No I/O, no locks.
#pragma once

#include <cstdint>

#include "base/offsets.h"
#include "formats/qcow1/geometry.h"
#include "formats/qcow1/limits.h"

namespace qcowkit::qcow1 {

/// An L2 entry that has been understood.
struct L2Mapping {
  /// `invalid`: such an entry has no meaning; whoever meets it decides what to do.
  enum class Kind : std::uint8_t { unallocated, data, compressed, invalid };

  Kind kind = Kind::unallocated;
  std::uint32_t compressed_bytes = 0;  ///< compressed: the stream's length
  HostOffset host_offset{};            ///< of the cluster, or of the compressed stream

  static constexpr std::uint64_t kCompressed = std::uint64_t{1} << 63;

  static constexpr L2Mapping decode(std::uint64_t raw, const Geometry& g) noexcept {
    if (raw == 0) return {};
    if ((raw & kCompressed) == 0) {
      // Writers put clusters at multiples of the cluster size. Whole sectors are what encryption
      // needs.
      const bool fits = raw % kSectorBytes == 0 && raw <= kFileEnd - g.cluster_size();
      return {fits ? Kind::data : Kind::invalid, 0, {raw}};
    }
    const std::uint64_t fields = raw & ~kCompressed;
    const std::uint32_t offset_bits = compressed_offset_bits(g);
    const auto bytes = static_cast<std::uint32_t>(fields >> offset_bits);
    return {bytes != 0 ? Kind::compressed : Kind::invalid,
            bytes,
            {fields & (compressed_offset_end(g) - 1)}};
  }
  /// `bytes` is from 1 to one less than a cluster; the stream ends at `compressed_offset_end` or
  /// before.
  static constexpr std::uint64_t encode_compressed(HostOffset host_offset, std::uint64_t bytes,
                                                   const Geometry& g) noexcept {
    return kCompressed | bytes << compressed_offset_bits(g) | host_offset.value;
  }
  /// Compressed clusters lie below this host offset.
  static constexpr std::uint64_t compressed_offset_end(const Geometry& g) noexcept {
    return std::uint64_t{1} << compressed_offset_bits(g);
  }

 private:
  static constexpr std::uint32_t compressed_offset_bits(const Geometry& g) noexcept {
    return 63 - g.cluster_bits();
  }
};

}  // namespace qcowkit::qcow1
