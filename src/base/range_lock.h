// Which byte ranges of a file are being changed right now.
#pragma once

#include <cstdint>
#include <limits>

#include "base/mutex.h"

namespace qcowkit {

/// Lets changes of disjoint ranges run side by side and makes those that exclude each other wait,
/// in the order of their arrival. Thread-safe; allocates nothing.
class RangeLock {
 public:
  enum class Mode {
    shared,     ///< may overlap other shared ranges
    exclusive,  ///< overlaps no other range
  };
  static constexpr std::uint64_t kToTheEnd = std::numeric_limits<std::uint64_t>::max();

  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  /// Holds the bytes from `first` up to but without `end`; the constructor waits for them.
  class Guard {
   public:
    Guard(RangeLock& lock, std::uint64_t first, std::uint64_t end, Mode mode);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    friend class RangeLock;
    bool excludes(const Guard& other) const noexcept {
      return first_ < other.end_ && other.first_ < end_ &&
             (mode_ == Mode::exclusive || other.mode_ == Mode::exclusive);
    }

    RangeLock& lock_;
    const std::uint64_t first_;
    const std::uint64_t end_;
    const Mode mode_;
    Guard* earlier_ = nullptr;  // guarded by lock_.mutex_, as is the next
    Guard* later_ = nullptr;
  };

 private:
  bool must_wait(const Guard& guard) const REQUIRES(mutex_);

  Mutex mutex_;
  CondVar released_;
  Guard* latest_ GUARDED_BY(mutex_) = nullptr;  // held and waiting, linked by arrival
};

}  // namespace qcowkit
