// Who still holds a mapping.
#include "formats/qcow2/epochs.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace qcowkit::qcow2 {
namespace {

TEST(Epochs, WithNobodyInTheyAdvance) {
  Epochs epochs;
  const std::uint64_t start = epochs.current();
  EXPECT_TRUE(epochs.try_advance());
  EXPECT_TRUE(epochs.try_advance());
  EXPECT_EQ(epochs.current(), start + 2);
}

TEST(Epochs, APinHoldsTheSecondAdvanceBack) {
  Epochs epochs;
  const std::uint64_t start = epochs.current();
  {
    const EpochPin pin(epochs);
    EXPECT_TRUE(epochs.try_advance());
    EXPECT_FALSE(epochs.try_advance());
    EXPECT_FALSE(epochs.try_advance());
    EXPECT_EQ(epochs.current(), start + 1) << "what was unlinked at the start is not ready yet";
  }
  EXPECT_TRUE(epochs.try_advance());
}

TEST(Epochs, LaterPinsDoNotHoldBackWhatEarlierOnesCouldSee) {
  Epochs epochs;
  auto early = std::make_unique<EpochPin>(epochs);
  const std::uint64_t unlinked = epochs.current();
  ASSERT_TRUE(epochs.try_advance());
  const EpochPin late(epochs);
  early.reset();
  EXPECT_TRUE(epochs.try_advance());
  EXPECT_GE(epochs.current(), unlinked + 2);
  EXPECT_FALSE(epochs.try_advance()) << "the late one holds on to its own epoch";
}

TEST(Epochs, APinMayBeDroppedByAnotherThread) {
  Epochs epochs;
  const std::uint32_t slot = epochs.enter();
  ASSERT_TRUE(epochs.try_advance());
  ASSERT_FALSE(epochs.try_advance());
  std::thread([&] { epochs.leave(slot); }).join();
  EXPECT_TRUE(epochs.try_advance());
}

/// Readers look up a place and use it; a writer moves to a new one, and spoils the old one once the
/// epochs say that it may.
TEST(Epochs, NobodySeesWhatIsUsedAgain) {
  constexpr std::size_t kPlaces = 64;
  constexpr int kMoves = 20000;
  Epochs epochs;
  std::vector<std::atomic<int>> good(kPlaces);
  std::atomic<std::size_t> present{0};
  std::atomic<bool> done{false};
  std::atomic<int> spoiled_seen{0};
  good[0] = 1;

  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const EpochPin pin(epochs);
        const std::size_t place = present.load();
        for (int look = 0; look < 4; ++look) spoiled_seen += good[place].load() == 0;
      }
    });
  }
  struct Old {
    std::size_t place;
    std::uint64_t epoch;
  };
  std::vector<Old> waiting;
  std::vector<std::size_t> free_places;
  for (std::size_t i = 1; i < kPlaces; ++i) free_places.push_back(i);
  for (int move = 0; move < kMoves; ++move) {
    if (!free_places.empty()) {
      const std::size_t next = free_places.back();
      free_places.pop_back();
      good[next] = 1;
      waiting.push_back({present.exchange(next), epochs.current()});
    }
    epochs.try_advance();
    std::erase_if(waiting, [&](const Old& old) {
      if (epochs.current() < old.epoch + 2) return false;
      good[old.place] = 0;
      free_places.push_back(old.place);
      return true;
    });
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(spoiled_seen, 0);
}

}  // namespace
}  // namespace qcowkit::qcow2
