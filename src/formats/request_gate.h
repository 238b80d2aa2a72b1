// Changing requests run side by side; a change of the image as a whole runs alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/mutex.h"

namespace qcowkit {

/// A shared lock that costs its many users two uncontended atomic operations, and its rare
/// exclusive user a wait for all of them. Not recursive: who is inside must not enter again.
class RequestGate {
 public:
  /// Inside for a scope, with others.
  class Shared {
   public:
    explicit Shared(RequestGate& gate) : gate_(gate), shard_(gate.enter()) {}
    ~Shared() { gate_.leave(shard_); }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

   private:
    RequestGate& gate_;
    std::uint32_t shard_;
  };

  /// Alone for a scope.
  class Exclusive {
   public:
    explicit Exclusive(RequestGate& gate) : gate_(gate) { gate_.shut(); }
    ~Exclusive() { gate_.open(); }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    RequestGate& gate_;
  };

 private:
  static constexpr std::uint32_t kShards = 16;
  struct alignas(64) Shard {
    std::atomic<std::uint32_t> inside{0};
  };

  static std::uint32_t shard_of_this_thread() noexcept;
  std::uint32_t enter();
  void leave(std::uint32_t shard);
  void shut();
  void open();
  bool is_empty() const noexcept;

  std::array<Shard, kShards> shards_;
  std::atomic<bool> shut_{false};
  Mutex mutex_;
  CondVar changed_;  // somebody has left, or the gate is open again
};

}  // namespace qcowkit
