// Requests for the same guest clusters wait for each other.
#include "formats/guest_range_lock.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace qcowkit {
namespace {

constexpr GuestOffset at(std::uint64_t offset) { return {offset}; }

TEST(GuestRangeLock, RangesApartAreHeldTogether) {
  GuestRangeLock ranges;
  const GuestRangeLock::Holder first(ranges, at(0), at(100));
  const GuestRangeLock::Holder behind(ranges, at(100), at(200));
  const GuestRangeLock::Holder far(ranges, at(1000), at(1001));
}

TEST(GuestRangeLock, AnOverlappingRangeWaits) {
  GuestRangeLock ranges;
  std::atomic<bool> has_it{false};
  std::thread other;
  {
    const GuestRangeLock::Holder first(ranges, at(0), at(100));
    other = std::thread([&] {
      const GuestRangeLock::Holder second(ranges, at(99), at(200));
      has_it = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(has_it);
  }
  other.join();
  EXPECT_TRUE(has_it);
}

TEST(GuestRangeLock, NoByteHasTwoHolders) {
  constexpr std::uint64_t kBytes = 16;
  GuestRangeLock ranges;
  std::array<std::atomic<int>, kBytes> holders{};
  std::atomic<int> conflicts{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 2000; ++i) {
        const std::uint64_t begin = random() % kBytes;
        const std::uint64_t end = begin + 1 + random() % (kBytes - begin);
        const GuestRangeLock::Holder holder(ranges, at(begin), at(end));
        for (std::uint64_t b = begin; b < end; ++b) conflicts += holders[b].fetch_add(1) != 0;
        for (std::uint64_t b = begin; b < end; ++b) holders[b].fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(conflicts, 0);
}

}  // namespace
}  // namespace qcowkit
