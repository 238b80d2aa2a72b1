// Which ranges of the disk requests are at work on, where some of them must not meet.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mutex.h"

namespace qcowkit::cli::io {

/// Thread-safe.
class BusyRanges {
 public:
  enum class Mode {
    shared,     ///< may overlap other shared ranges
    exclusive,  ///< overlaps no other range
  };

  /// Holds the bytes from `first` up to but without `end`; the constructor waits for them.
  class Hold {
   public:
    Hold(BusyRanges& ranges, std::uint64_t first, std::uint64_t end, Mode mode);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    friend class BusyRanges;
    bool excludes(const Hold& other) const noexcept {
      return first_ < other.end_ && other.first_ < end_ &&
             (mode_ == Mode::exclusive || other.mode_ == Mode::exclusive);
    }

    BusyRanges& ranges_;
    const std::uint64_t first_;
    const std::uint64_t end_;
    const Mode mode_;
  };

 private:
  bool is_free_for(const Hold& wanted) const REQUIRES(mutex_);

  Mutex mutex_;
  CondVar released_;
  std::vector<const Hold*> held_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::cli::io
