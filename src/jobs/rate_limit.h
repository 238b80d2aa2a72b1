// Keeps a job from moving more than so many bytes a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <utility>

namespace qcowkit {

/// Used by one thread at a time.
class RateLimit {
 public:
  /// 0: no limit.
  RateLimit(std::uint64_t bytes_per_second, std::stop_token stop)
      : bytes_per_second_(bytes_per_second), stop_(std::move(stop)) {}

  /// To be called when `bytes` more have been moved: returns when they were due, or at once when a
  /// stop is requested.
  void wait_after(std::uint64_t bytes);

 private:
  using Clock = std::chrono::steady_clock;

  const std::uint64_t bytes_per_second_;
  const std::stop_token stop_;
  const Clock::time_point start_ = Clock::now();
  std::uint64_t moved_bytes_ = 0;
};

}  // namespace qcowkit
