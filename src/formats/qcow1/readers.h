// Who is reading right now.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace qcowkit::qcow1 {

/// Counts those that may hold a mapping which has been handed out. Thread-safe and lock-free.
class Readers {
 public:
  /// The result goes to `leave`, in whatever thread.
  std::uint32_t enter() noexcept {
    const std::uint32_t shard = shard_of_this_thread();
    shards_[shard].inside.fetch_add(1);
    return shard;
  }
  void leave(std::uint32_t shard) noexcept { shards_[shard].inside.fetch_sub(1); }

  /// True if everybody has left who entered before the call; false, too, while others go on coming.
  bool are_gone() const noexcept {
    for (const Shard& shard : shards_) {
      if (shard.inside.load() != 0) return false;
    }
    return true;
  }

 private:
  static constexpr std::uint32_t kShards = 16;
  struct alignas(64) Shard {
    std::atomic<std::uint32_t> inside{0};
  };

  static std::uint32_t shard_of_this_thread() noexcept {
    static std::atomic<std::uint32_t> next{0};
    thread_local const std::uint32_t shard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
    return shard;
  }

  std::array<Shard, kShards> shards_;
};

}  // namespace qcowkit::qcow1
