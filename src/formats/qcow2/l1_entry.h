// One entry of an L1 table (qcow2 spec, Cluster mapping). No I/O, no locks.
#pragma once

#include <cstdint>

#include "base/checked.h"
#include "base/offsets.h"
#include "formats/qcow2/geometry.h"

namespace qcowkit::qcow2 {

class L1Entry {
 public:
  static constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
  static constexpr std::uint64_t kReservedMask = 0x7f000000000001ff;

  constexpr L1Entry() = default;
  constexpr explicit L1Entry(std::uint64_t raw) noexcept : raw_(raw) {}
  static constexpr L1Entry table(HostOffset l2_table, bool copied) noexcept {
    return L1Entry(l2_table.value | (copied ? kCopied : 0));
  }

  constexpr std::uint64_t raw() const noexcept { return raw_; }
  constexpr bool has_table() const noexcept { return (raw_ & kOffsetMask) != 0; }
  /// Where the L2 table lies; meaningful if `has_table()`.
  constexpr HostOffset l2_table() const noexcept { return {raw_ & kOffsetMask}; }
  /// The L2 table's refcount is exactly one: it may be changed in place.
  constexpr bool copied() const noexcept { return (raw_ & kCopied) != 0; }
  constexpr bool has_reserved_bits() const noexcept { return (raw_ & kReservedMask) != 0; }
  constexpr bool is_aligned_to(const Geometry& g) const noexcept {
    return g.in_cluster(l2_table().value) == 0;
  }

 private:
  std::uint64_t raw_ = 0;
};

}  // namespace qcowkit::qcow2
