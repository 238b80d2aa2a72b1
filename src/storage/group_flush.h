// One fdatasync for all who ask at the same time, and a failure that stays.
#pragma once

#include <cstdint>

#include "base/mutex.h"

namespace qcowkit {

/// Thread-safe. A call returns when a sync that began after the call has ended; those who wait
/// while one runs share the next. After one failure every call fails with that errno, for
/// the kernel reports a lost write only once.
class GroupFlush {
 public:
  /// `sync` makes everything written durable and returns 0 or an errno; it throws nothing.
  /// Returns 0 or an errno.
  template <typename Sync>
  int operator()(Sync sync) {
    mutex_.lock();
    const std::uint64_t ticket = ++last_ticket_;
    while (done_ticket_ < ticket && error_ == 0) {
      if (is_running_) {
        ended_.wait(mutex_);
        continue;
      }
      is_running_ = true;
      const std::uint64_t covered = last_ticket_;
      mutex_.unlock();
      const int error = sync();
      mutex_.lock();
      is_running_ = false;
      done_ticket_ = covered;
      if (error_ == 0) error_ = error;
      ended_.notify_all();
    }
    const int result = error_;
    mutex_.unlock();
    return result;
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::uint64_t last_ticket_ GUARDED_BY(mutex_) = 0;
  std::uint64_t done_ticket_ GUARDED_BY(mutex_) = 0;
  bool is_running_ GUARDED_BY(mutex_) = false;
  int error_ GUARDED_BY(mutex_) = 0;
};

}  // namespace qcowkit
