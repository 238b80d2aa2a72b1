// How much memory the large requests of one connection may hold at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/mutex.h"

namespace qcowkit::nbd {

/// Thread-safe. Whoever holds a share must not wait for another.
class MemoryBudget {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{64} << 20;

  /// A part of the budget, taken (that may take time) and given back.
  class Share {
   public:
    Share(MemoryBudget& budget, std::uint64_t bytes)
        : budget_(budget), bytes_(std::min(bytes, kBytes)) {
      const MutexLock lock(budget_.mutex_);
      while (budget_.used_bytes_ + bytes_ > kBytes) budget_.given_back_.wait(budget_.mutex_);
      budget_.used_bytes_ += bytes_;
    }
    ~Share() {
      {
        const MutexLock lock(budget_.mutex_);
        budget_.used_bytes_ -= bytes_;
      }
      budget_.given_back_.notify_all();
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

   private:
    MemoryBudget& budget_;
    const std::uint64_t bytes_;
  };

 private:
  Mutex mutex_;
  std::uint64_t used_bytes_ GUARDED_BY(mutex_) = 0;
  CondVar given_back_;
};

}  // namespace qcowkit::nbd
