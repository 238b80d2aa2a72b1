// Range locks: who waits for whom.
#include "base/range_lock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace qcowkit {
namespace {

using Mode = RangeLock::Mode;

/// True if the range can be held now, without waiting for what is held already.
bool is_free(RangeLock& lock, std::uint64_t first, std::uint64_t end, Mode mode,
             std::unique_ptr<RangeLock::Guard>& held) {
  std::atomic<bool> got_it{false};
  std::thread other([&] {
    const RangeLock::Guard guard(lock, first, end, mode);
    got_it = true;
  });
  for (int i = 0; i < 50 && !got_it; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const bool answer = got_it;
  if (!answer) held.reset();
  other.join();
  return answer;
}

struct Case {
  Mode held;
  Mode wanted;
  std::uint64_t first;
  std::uint64_t end;
  bool is_free;
};

TEST(RangeLock, OnlyAnExclusiveOverlapWaits) {
  const Case cases[] = {
      {Mode::shared, Mode::shared, 10, 20, true},
      {Mode::shared, Mode::exclusive, 10, 20, false},
      {Mode::exclusive, Mode::shared, 10, 20, false},
      {Mode::exclusive, Mode::exclusive, 19, 30, false},
      {Mode::exclusive, Mode::exclusive, 20, 30, true},
      {Mode::exclusive, Mode::exclusive, 0, 10, true},
      {Mode::exclusive, Mode::shared, 0, RangeLock::kToTheEnd, false},
      {Mode::exclusive, Mode::shared, 20, RangeLock::kToTheEnd, true},
  };
  for (const Case& c : cases) {
    RangeLock lock;
    auto held = std::make_unique<RangeLock::Guard>(lock, 10, 20, c.held);
    EXPECT_EQ(is_free(lock, c.first, c.end, c.wanted, held), c.is_free) << c.first << "-" << c.end;
  }
}

TEST(RangeLock, ReleaseInAnyOrderKeepsTheRestHeld) {
  RangeLock lock;
  auto a = std::make_unique<RangeLock::Guard>(lock, 0, 10, Mode::exclusive);
  auto b = std::make_unique<RangeLock::Guard>(lock, 10, 20, Mode::exclusive);
  auto c = std::make_unique<RangeLock::Guard>(lock, 20, 30, Mode::exclusive);
  b.reset();
  EXPECT_TRUE(is_free(lock, 10, 20, Mode::exclusive, b));
  EXPECT_FALSE(is_free(lock, 5, 6, Mode::shared, a));
  EXPECT_FALSE(is_free(lock, 29, 40, Mode::shared, c));
}

TEST(RangeLock, ExclusiveHoldersAreAlone) {
  RangeLock lock;
  long counter = 0;  // unprotected but for the lock
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const RangeLock::Guard guard(lock, 100, 200, Mode::exclusive);
        ++counter;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, 8000);
}

}  // namespace
}  // namespace qcowkit
