// Which ranges of the disk requests are at work on, where some of them must not meet.
#include "cli/io/busy_ranges.h"

#include <algorithm>

namespace qcowkit::cli::io {

BusyRanges::Hold::Hold(BusyRanges& ranges, std::uint64_t first, std::uint64_t end, Mode mode)
    : ranges_(ranges), first_(first), end_(end), mode_(mode) {
  const MutexLock lock(ranges_.mutex_);
  while (!ranges_.is_free_for(*this)) ranges_.released_.wait(ranges_.mutex_);
  ranges_.held_.push_back(this);
}

BusyRanges::Hold::~Hold() {
  const MutexLock lock(ranges_.mutex_);
  std::erase(ranges_.held_, this);
  ranges_.released_.notify_all();
}

bool BusyRanges::is_free_for(const Hold& wanted) const {
  return std::ranges::none_of(held_, [&](const Hold* other) { return wanted.excludes(*other); });
}

}  // namespace qcowkit::cli::io
