// Keeps a copy from moving more than so many bytes a second.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::cli {

/// Makes whoever reports a copy's progress wait until so much data was due. Holes cost nothing:
/// what counts are the bytes of the sources that hold data. Used by one thread at a time.
class RateLimit {
 public:
  /// The sources must outlive this object. `bytes_per_second` is not zero.
  RateLimit(std::vector<Image*> sources, std::uint64_t bytes_per_second)
      : sources_(std::move(sources)), bytes_per_second_(bytes_per_second) {}

  /// Returns when the sources' first `position` bytes may have been copied.
  void wait_for(std::uint64_t position);

 private:
  using Clock = std::chrono::steady_clock;

  void count_data_up_to(std::uint64_t position);

  std::vector<Image*> sources_;
  std::uint64_t bytes_per_second_;
  Clock::time_point start_ = Clock::now();
  std::size_t source_ = 0;              ///< what has been counted ends in this source
  std::uint64_t source_begin_ = 0;      ///< its position among all of them
  std::uint64_t counted_position_ = 0;  ///< data has been counted up to here
  std::uint64_t data_bytes_ = 0;
};

}  // namespace qcowkit::cli
