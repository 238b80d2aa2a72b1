#include "formats/chain_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace qcowkit {
namespace {

/// Layers are only told apart here, never looked into.
class ChainCacheTest : public testing::Test {
 protected:
  Layer* layer(std::size_t i) { return reinterpret_cast<Layer*>(&places_[i]); }

  std::array<std::uint64_t, 256> places_{};
  ChainCache cache_;
};

TEST_F(ChainCacheTest, KnowsNothingAtFirst) { EXPECT_EQ(cache_.find(0, 1), nullptr); }

TEST_F(ChainCacheTest, FindsWhatWasLearntAndNoMore) {
  cache_.learn(70, 73, 1, layer(1));
  cache_.learn(73, 74, 1, layer(2));
  EXPECT_EQ(cache_.find(69, 1), nullptr);
  EXPECT_EQ(cache_.find(70, 1), layer(1));
  EXPECT_EQ(cache_.find(72, 1), layer(1));
  EXPECT_EQ(cache_.find(73, 1), layer(2));
  EXPECT_EQ(cache_.find(74, 1), nullptr);
}

TEST_F(ChainCacheTest, ForgetsARegionThatIsOfAnotherGeneration) {
  cache_.learn(0, 2, 1, layer(1));
  EXPECT_EQ(cache_.find(0, 2), nullptr);
  cache_.learn(0, 1, 2, layer(2));
  EXPECT_EQ(cache_.find(0, 2), layer(2));
  EXPECT_EQ(cache_.find(1, 2), nullptr);
}

TEST_F(ChainCacheTest, IgnoresWhoLookedBeforeTheLastChange) {
  cache_.learn(0, 2, 2, layer(2));
  cache_.learn(0, 2, 1, layer(1));
  EXPECT_EQ(cache_.find(0, 2), layer(2));
  EXPECT_EQ(cache_.find(0, 1), nullptr);
}

TEST_F(ChainCacheTest, RegionsInTheSamePlaceDoNotMix) {
  // As many regions apart as there are places.
  const std::uint64_t apart = ChainCache::kUnitsInRegion << 13;
  cache_.learn(3, 4, 1, layer(1));
  cache_.learn(3 + apart, 4 + apart, 1, layer(2));
  EXPECT_EQ(cache_.find(3, 1), nullptr);
  EXPECT_EQ(cache_.find(3 + apart, 1), layer(2));
}

TEST_F(ChainCacheTest, ReadersNeverSeeAnotherRegionsLayer) {
  const std::uint64_t apart = ChainCache::kUnitsInRegion << 13;
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (std::uint64_t i = 0; i < 2; ++i) {
    readers.emplace_back([&, i] {
      while (!stop) {
        const Layer* found = cache_.find(i * apart, 1);
        if (found != nullptr && found != layer(i)) ++wrong;
      }
    });
  }
  for (int round = 0; round < 20'000; ++round) {
    const std::uint64_t i = static_cast<std::uint64_t>(round % 2);
    cache_.learn(i * apart, i * apart + 1, 1, layer(i));
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace qcowkit
