// The first failure to make an image's metadata durable, which stays.
#pragma once

#include <optional>

#include "base/mutex.h"
#include "qcowkit/error.h"

namespace qcowkit {

/// Once a flush has failed, what is on the disk cannot be known, and none that follows may succeed.
/// Thread-safe.
class FirstFailure {
 public:
  std::optional<Error> get() const EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return failure_;
  }
  void note(const Error& error) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    if (!failure_) failure_ = error;
  }

  /// Calls `flush`; the lock is not held meanwhile. Throws the first failure, if there was one
  /// before; notes and throws what `flush` throws.
  template <typename Flush>
  void guard(Flush flush) EXCLUDES(mutex_) {
    if (const std::optional<Error> failure = get()) throw *failure;
    try {
      flush();
    } catch (const Error& error) {
      note(error);
      throw;
    }
  }

 private:
  mutable Mutex mutex_;
  std::optional<Error> failure_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit
