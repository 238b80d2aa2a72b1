// Keeps a job from moving more than so many bytes a second.
#include "jobs/rate_limit.h"

#include <condition_variable>
#include <mutex>

namespace qcowkit {

void RateLimit::wait_after(std::uint64_t bytes) {
  if (bytes_per_second_ == 0 || bytes == 0) return;
  moved_bytes_ += bytes;
  const double due_seconds =
      static_cast<double>(moved_bytes_) / static_cast<double>(bytes_per_second_);
  const auto due = start_ + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(due_seconds));
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait_until(lock, stop_, due, [] { return false; });
}

}  // namespace qcowkit
