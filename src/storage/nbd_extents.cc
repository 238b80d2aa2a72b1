// What a server has said of which bytes it has.
#include "storage/nbd_extents.h"

#include <libnbd.h>

#include <algorithm>

namespace qcowkit {

std::optional<StorageExtent> NbdExtents::look_up(std::uint64_t host_offset,
                                                 std::uint64_t length_bytes) const {
  if (runs_.empty() || host_offset < first_ || host_offset >= runs_.back().end) {
    return std::nullopt;
  }
  const auto run = std::upper_bound(runs_.begin(), runs_.end(), host_offset,
                                    [](std::uint64_t at, const Run& r) { return at < r.end; });
  return StorageExtent{std::min(length_bytes, run->end - host_offset), run->is_hole,
                       run->has_unusual_space};
}

std::optional<StorageExtent> NbdExtents::find(std::uint64_t host_offset,
                                              std::uint64_t length_bytes) {
  const MutexLock lock(mutex_);
  if (known_generation_ != generation_.load(std::memory_order_acquire) ||
      Clock::now() - known_since_ > kMoment) {
    return std::nullopt;
  }
  return look_up(host_offset, length_bytes);
}

StorageExtent NbdExtents::Question::answer(std::uint64_t first,
                                           std::span<const std::uint32_t> entries,
                                           std::uint64_t host_offset,
                                           std::uint64_t length_bytes) const {
  std::vector<Run> runs;
  std::uint64_t end = first;
  for (std::size_t i = 0; i + 1 < entries.size(); i += 2) {
    end += entries[i];
    const bool is_hole = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0;
    const bool has_space = (entries[i + 1] & LIBNBD_STATE_HOLE) == 0;
    const bool is_unusual = is_hole == has_space;
    if (!runs.empty() && runs.back().is_hole == is_hole &&
        runs.back().has_unusual_space == is_unusual) {
      runs.back().end = end;
    } else if (entries[i] > 0) {
      runs.push_back({end, is_hole, is_unusual});
    }
  }
  const MutexLock lock(extents_.mutex_);
  extents_.first_ = first;
  extents_.runs_ = std::move(runs);
  extents_.known_generation_ = generation_;
  extents_.known_since_ = Clock::now();
  return extents_.look_up(host_offset, length_bytes).value_or(StorageExtent{length_bytes, false});
}

}  // namespace qcowkit
