// Who may still hold a mapping that has been handed out.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace qcowkit::qcow2 {

/// Epoch-based reclamation. A reader pins the present epoch for as long as it uses a mapping; what
/// was unlinked in epoch E may be used again once the epoch has reached E + 2, because the epoch
/// only advances when no pin of the epoch before it is left.
///
/// Thread-safe and lock-free. A pin may be dropped by another thread than the one that took it.
class Epochs {
 public:
  /// Pins the present epoch; the result goes to `leave`.
  std::uint32_t enter() noexcept {
    const std::uint32_t shard = shard_of_this_thread();
    for (;;) {
      const std::uint64_t epoch = epoch_.load();
      const auto parity = static_cast<std::uint32_t>(epoch & 1);
      shards_[shard].pins[parity].fetch_add(1);
      // The epoch may have moved between the load and the pin, which then pins nothing.
      if (epoch_.load() == epoch) return shard << 1 | parity;
      shards_[shard].pins[parity].fetch_sub(1);
    }
  }
  void leave(std::uint32_t slot) noexcept { shards_[slot >> 1].pins[slot & 1].fetch_sub(1); }

  std::uint64_t current() const noexcept { return epoch_.load(); }

  /// Moves on by one epoch if nobody is left in the one before. Called by one thread at a time.
  bool try_advance() noexcept {
    const std::uint64_t epoch = epoch_.load();
    const auto previous_parity = static_cast<std::uint32_t>((epoch + 1) & 1);
    for (const Shard& shard : shards_) {
      if (shard.pins[previous_parity].load() != 0) return false;
    }
    epoch_.store(epoch + 1);
    return true;
  }

 private:
  static constexpr std::uint32_t kShards = 16;
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint32_t>, 2> pins{};
  };

  static std::uint32_t shard_of_this_thread() noexcept {
    static std::atomic<std::uint32_t> next{0};
    thread_local const std::uint32_t shard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
    return shard;
  }

  std::atomic<std::uint64_t> epoch_{2};
  std::array<Shard, kShards> shards_;
};

/// A pin for a scope.
class EpochPin {
 public:
  explicit EpochPin(Epochs& epochs) noexcept : epochs_(epochs), slot_(epochs.enter()) {}
  ~EpochPin() { epochs_.leave(slot_); }
  EpochPin(const EpochPin&) = delete;
  EpochPin& operator=(const EpochPin&) = delete;

 private:
  Epochs& epochs_;
  std::uint32_t slot_;
};

}  // namespace qcowkit::qcow2
