#include "formats/guest_range_lock.h"

#include <algorithm>

namespace qcowkit {

void GuestRangeLock::acquire(GuestOffset begin, GuestOffset end) {
  const MutexLock lock(mutex_);
  for (;;) {
    bool busy = false;
    for (const Range& held : held_) busy = busy || (begin < held.end && held.begin < end);
    if (!busy) break;
    released_.wait(mutex_);
  }
  held_.push_back({begin, end});
}

void GuestRangeLock::release(GuestOffset begin, GuestOffset end) noexcept {
  {
    const MutexLock lock(mutex_);
    for (Range& held : held_) {
      if (held.begin == begin && held.end == end) {
        held = held_.back();
        held_.pop_back();
        break;
      }
    }
  }
  released_.notify_all();
}

}  // namespace qcowkit
