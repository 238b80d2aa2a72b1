// Host ranges that guest data must never be written to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/checked.h"
#include "base/offsets.h"
#include "formats/qcow2/header.h"

namespace qcowkit::qcow2 {

/// The structures whose place the header tells: itself, the active L1 table, the refcount table. A
/// damaged or hostile image may map guest clusters there.
class ProtectedRanges {
 public:
  ProtectedRanges() = default;
  explicit ProtectedRanges(const Header& header) {
    const std::uint64_t cluster_size = header.geometry().cluster_size();
    const std::uint64_t l1_bytes = align_up(std::uint64_t{header.l1_size} * 8, cluster_size);
    ranges_ = {
        Range{0, cluster_size, "header"},
        Range{header.l1_table_offset.value, header.l1_table_offset.value + l1_bytes, "L1 table"},
        Range{header.refcount_table_offset.value,
              header.refcount_table_offset.value + header.refcount_table_clusters * cluster_size,
              "refcount table"}};
  }

  void move_refcount_table(HostOffset host_offset, std::uint64_t bytes) {
    ranges_[2].begin = host_offset.value;
    ranges_[2].end = host_offset.value + bytes;
  }

  /// The name of the structure that the host range touches, null if none.
  const char* hit(HostOffset host_offset, std::uint64_t bytes) const noexcept {
    for (const Range& range : ranges_) {
      if (host_offset.value < range.end && range.begin < host_offset.value + bytes)
        return range.name;
    }
    return nullptr;
  }

 private:
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    const char* name = nullptr;
  };
  std::array<Range, 3> ranges_;
};

}  // namespace qcowkit::qcow2
