// What a server has said of which bytes it has.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// Remembers the last answer for a moment: one tells of many extents, and they are asked for one
/// after the other. Thread-safe.
///
/// An answer to what was asked before a change of ours is never given after it. Others may write to
/// the same export; what they change is seen when the moment is over.
class NbdExtents {
 public:
  /// Whoever changes the bytes holds one of these until the change is there or has failed.
  class Change {
   public:
    explicit Change(NbdExtents& extents) noexcept : extents_(extents) {}
    ~Change() { extents_.generation_.fetch_add(1, std::memory_order_release); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    NbdExtents& extents_;
  };

  /// Held from before the server is asked.
  class Question {
   public:
    explicit Question(NbdExtents& extents) noexcept
        : extents_(extents), generation_(extents.generation_.load(std::memory_order_acquire)) {}

    /// Remembers the server's answer, pairs of lengths and flags from `first` on, and tells what
    /// it says of `host_offset`, for at most `length_bytes`. An answer that does not reach so far
    /// says nothing, which means data.
    StorageExtent answer(std::uint64_t first, std::span<const std::uint32_t> entries,
                         std::uint64_t host_offset, std::uint64_t length_bytes) const;

   private:
    NbdExtents& extents_;
    const std::uint64_t generation_;
  };

  /// What is known of `host_offset`, for at most `length_bytes`.
  std::optional<StorageExtent> find(std::uint64_t host_offset, std::uint64_t length_bytes)
      EXCLUDES(mutex_);

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kMoment = std::chrono::seconds(1);

  struct Run {
    std::uint64_t end;  ///< where the next one starts
    bool is_hole;
    bool has_unusual_space;  ///< see `StorageExtent`
  };
  std::optional<StorageExtent> look_up(std::uint64_t host_offset, std::uint64_t length_bytes) const
      REQUIRES(mutex_);

  std::atomic<std::uint64_t> generation_{0};

  Mutex mutex_;
  std::uint64_t first_ GUARDED_BY(mutex_) = 0;
  std::vector<Run> runs_ GUARDED_BY(mutex_);  ///< neighbours differ
  std::uint64_t known_generation_ GUARDED_BY(mutex_) = 0;
  Clock::time_point known_since_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit
