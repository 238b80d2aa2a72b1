// Which byte ranges of a file are being changed right now.
#include "base/range_lock.h"

namespace qcowkit {

bool RangeLock::must_wait(const Guard& guard) const {
  for (const Guard* other = guard.earlier_; other != nullptr; other = other->earlier_) {
    if (guard.excludes(*other)) return true;
  }
  return false;
}

RangeLock::Guard::Guard(RangeLock& lock, std::uint64_t first, std::uint64_t end, Mode mode)
    : lock_(lock), first_(first), end_(end), mode_(mode) {
  const MutexLock held(lock_.mutex_);
  earlier_ = lock_.latest_;
  if (earlier_ != nullptr) earlier_->later_ = this;
  lock_.latest_ = this;
  while (lock_.must_wait(*this)) lock_.released_.wait(lock_.mutex_);
}

RangeLock::Guard::~Guard() {
  const MutexLock held(lock_.mutex_);
  if (earlier_ != nullptr) earlier_->later_ = later_;
  if (later_ != nullptr) {
    later_->earlier_ = earlier_;
    lock_.released_.notify_all();
  } else {
    lock_.latest_ = earlier_;
  }
}

}  // namespace qcowkit
