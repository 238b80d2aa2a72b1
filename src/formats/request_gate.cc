#include "formats/request_gate.h"

#include <algorithm>

namespace qcowkit {

std::uint32_t RequestGate::shard_of_this_thread() noexcept {
  static std::atomic<std::uint32_t> next{0};
  thread_local const std::uint32_t shard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
  return shard;
}

std::uint32_t RequestGate::enter() {
  const std::uint32_t shard = shard_of_this_thread();
  for (;;) {
    shards_[shard].inside.fetch_add(1);
    // Whoever shuts the gate sets the flag first and counts afterwards: one of us sees the other.
    if (!shut_.load()) return shard;
    leave(shard);
    const MutexLock lock(mutex_);
    while (shut_.load()) changed_.wait(mutex_);
  }
}

void RequestGate::leave(std::uint32_t shard) {
  shards_[shard].inside.fetch_sub(1);
  if (!shut_.load()) return;
  const MutexLock lock(mutex_);
  changed_.notify_all();
}

bool RequestGate::is_empty() const noexcept {
  return std::ranges::all_of(shards_, [](const Shard& shard) { return shard.inside.load() == 0; });
}

void RequestGate::shut() {
  const MutexLock lock(mutex_);
  while (shut_.load()) changed_.wait(mutex_);
  shut_.store(true);
  while (!is_empty()) changed_.wait(mutex_);
}

void RequestGate::open() {
  const MutexLock lock(mutex_);
  shut_.store(false);
  changed_.notify_all();
}

}  // namespace qcowkit
