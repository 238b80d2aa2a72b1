// Requests that change the mapping of the same guest clusters wait for each other; others don't.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "base/offsets.h"

namespace qcowkit {

class GuestRangeLock {
 public:
  /// Holds a range until it goes out of scope.
  class Holder {
   public:
    Holder(GuestRangeLock& owner, GuestOffset begin, GuestOffset end)
        : owner_(owner), begin_(begin), end_(end) {
      owner_.acquire(begin_, end_);
    }
    ~Holder() { owner_.release(begin_, end_); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;

   private:
    GuestRangeLock& owner_;
    GuestOffset begin_;
    GuestOffset end_;
  };

 private:
  struct Range {
    GuestOffset begin;
    GuestOffset end;
  };

  void acquire(GuestOffset begin, GuestOffset end);
  void release(GuestOffset begin, GuestOffset end) noexcept;

  Mutex mutex_;
  std::vector<Range> held_ GUARDED_BY(mutex_);
  CondVar released_;
};

}  // namespace qcowkit
