// How much memory large requests may hold at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/mutex.h"

namespace qcowkit::nbd {

/// What there is for all connections of a server. Thread-safe.
class MemoryPool {
 public:
  static constexpr std::uint64_t kBytesDefault = std::uint64_t{512} << 20;

  explicit MemoryPool(std::uint64_t bytes = kBytesDefault) : left_bytes_(bytes) {}

  /// False if there is not so much left. Never waits: who holds memory may be waiting for a client.
  bool take(std::uint64_t bytes) noexcept {
    std::uint64_t left = left_bytes_.load();
    while (left >= bytes) {
      if (left_bytes_.compare_exchange_weak(left, left - bytes)) return true;
    }
    return false;
  }
  void give_back(std::uint64_t bytes) noexcept { left_bytes_ += bytes; }

 private:
  std::atomic<std::uint64_t> left_bytes_;
};

/// What there is for one connection. Thread-safe. Whoever holds a share must not wait for another.
class MemoryBudget {
 public:
  static constexpr std::uint64_t kBytes = std::uint64_t{64} << 20;

  explicit MemoryBudget(MemoryPool& pool) : pool_(pool) {}

  /// A part of the budget.
  class Share {
   public:
    Share() = default;
    ~Share() { give_back(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    /// Waits until the connection's other requests leave so much. False if the server as a whole
    /// has no memory for it.
    bool take(MemoryBudget& budget, std::uint64_t bytes) {
      give_back();
      bytes = std::min(bytes, kBytes);
      budget.wait_for(bytes);
      if (!budget.pool_.take(bytes)) {
        budget.give_back(bytes);
        return false;
      }
      budget_ = &budget;
      bytes_ = bytes;
      return true;
    }
    void give_back() noexcept {
      if (budget_ == nullptr) return;
      budget_->pool_.give_back(bytes_);
      budget_->give_back(bytes_);
      budget_ = nullptr;
    }
    bool is_taken() const noexcept { return budget_ != nullptr; }

   private:
    MemoryBudget* budget_ = nullptr;
    std::uint64_t bytes_ = 0;
  };

 private:
  void wait_for(std::uint64_t bytes) {
    const MutexLock lock(mutex_);
    while (used_bytes_ + bytes > kBytes) given_back_.wait(mutex_);
    used_bytes_ += bytes;
  }
  void give_back(std::uint64_t bytes) noexcept {
    {
      const MutexLock lock(mutex_);
      used_bytes_ -= bytes;
    }
    given_back_.notify_all();
  }

  MemoryPool& pool_;
  Mutex mutex_;
  std::uint64_t used_bytes_ GUARDED_BY(mutex_) = 0;
  CondVar given_back_;
};

}  // namespace qcowkit::nbd
