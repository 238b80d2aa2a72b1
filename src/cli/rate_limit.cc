// Keeps a copy from moving more than so many bytes a second.
#include "cli/rate_limit.h"

#include <algorithm>
#include <thread>

namespace qcowkit::cli {

void RateLimit::wait_for(std::uint64_t position) {
  count_data_up_to(position);
  const double due_seconds =
      static_cast<double>(data_bytes_) / static_cast<double>(bytes_per_second_);
  std::this_thread::sleep_until(start_ + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(due_seconds)));
}

void RateLimit::count_data_up_to(std::uint64_t position) {
  while (counted_position_ < position && source_ < sources_.size()) {
    Image& source = *sources_[source_];
    const std::uint64_t source_end = source_begin_ + source.virtual_size();
    if (counted_position_ == source_end) {
      source_begin_ = source_end;
      ++source_;
      continue;
    }
    const std::uint64_t end = std::min(position, source_end);
    const Extent extent = source.map(counted_position_ - source_begin_, end - counted_position_);
    if (extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed) {
      data_bytes_ += extent.length_bytes;
    }
    counted_position_ += extent.length_bytes;
  }
}

}  // namespace qcowkit::cli
