// Tests of parallel_for_ordered: order, bounds, failures and cancelling, with one worker and
// several.
#include "base/worker_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit {
namespace {

struct Item {
  int number = -1;
  int squared = 0;
};

class ParallelForOrdered : public testing::TestWithParam<std::uint32_t> {
 protected:
  ParallelOptions options() { return {GetParam(), stop_.get_token()}; }

  /// Fills items 0 .. `count`-1.
  auto count_to(int count) {
    return [this, count](Item& item) {
      if (produced_ == count) return false;
      item.number = produced_++;
      return true;
    };
  }
  auto collect() {
    return [this](Item& item) {
      consumed_.push_back(item.number);
      return true;
    };
  }
  std::vector<int> first(int count) {
    std::vector<int> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }

  std::stop_source stop_;
  int produced_ = 0;
  std::vector<int> consumed_;
};

INSTANTIATE_TEST_SUITE_P(Workers, ParallelForOrdered, testing::Values(1, 2, 3, 8),
                         testing::PrintToStringParamName());

TEST_P(ParallelForOrdered, ItemsOfUnequalWorkAreConsumedInOrder) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::minstd_rand random(seed);
  std::vector<int> delays_us(200);
  for (int& delay : delays_us) delay = static_cast<int>(random() % 8 == 0 ? random() % 2000 : 0);

  std::vector<int> squares;
  parallel_for_ordered<Item>(
      options(), count_to(200),
      [&](Item& item) {
        const auto number = static_cast<std::size_t>(item.number);
        std::this_thread::sleep_for(std::chrono::microseconds(delays_us[number]));
        item.squared = item.number * item.number;
      },
      [&](Item& item) {
        consumed_.push_back(item.number);
        squares.push_back(item.squared);
        return true;
      });

  EXPECT_EQ(consumed_, first(200));
  for (std::size_t i = 0; i < squares.size(); ++i) EXPECT_EQ(squares[i], static_cast<int>(i * i));
}

TEST_P(ParallelForOrdered, NoItemsMeansNoWork) {
  parallel_for_ordered<Item>(
      options(), [](Item&) { return false; }, [](Item&) { ADD_FAILURE(); },
      [](Item&) {
        ADD_FAILURE();
        return true;
      });
}

TEST_P(ParallelForOrdered, ProduceAndConsumeNeverOverlapThemselves) {
  std::atomic<int> producing = 0;
  std::atomic<int> consuming = 0;
  parallel_for_ordered<Item>(
      options(),
      [&, produce = count_to(100)](Item& item) {
        EXPECT_EQ(++producing, 1);
        const bool more = produce(item);
        std::this_thread::yield();
        --producing;
        return more;
      },
      [](Item&) {},
      [&](Item&) {
        EXPECT_EQ(++consuming, 1);
        std::this_thread::yield();
        --consuming;
        return true;
      });
}

TEST_P(ParallelForOrdered, ItemsInFlightAreBoundedBySlots) {
  std::atomic<int> in_flight = 0;
  int in_flight_max = 0;
  parallel_for_ordered<Item>(
      options(),
      [&, produce = count_to(100)](Item& item) {
        if (!produce(item)) return false;
        in_flight_max = std::max(in_flight_max, ++in_flight);
        return true;
      },
      [](Item& item) {
        if (item.number == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      },
      [&](Item&) {
        --in_flight;
        return true;
      });
  EXPECT_LE(in_flight_max, static_cast<int>(slot_count(options())));
}

TEST_P(ParallelForOrdered, ConsumeThatNeedsNoMoreEndsTheRun) {
  parallel_for_ordered<Item>(
      options(), count_to(1000), [](Item&) {},
      [&](Item& item) {
        consumed_.push_back(item.number);
        return item.number < 4;
      });
  EXPECT_EQ(consumed_, first(5));
  EXPECT_LE(produced_, 5 + static_cast<int>(slot_count(options())));
}

TEST_P(ParallelForOrdered, ProcessThatThrowsEndsTheRunAfterTheItemsBefore) {
  try {
    parallel_for_ordered<Item>(
        options(), count_to(1000),
        [](Item& item) {
          if (item.number == 7 || item.number == 8) {
            // Item 7 fails later than item 8, and its failure still comes first.
            if (item.number == 7) std::this_thread::sleep_for(std::chrono::milliseconds(5));
            throw std::runtime_error(std::to_string(item.number));
          }
        },
        collect());
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "7");
  }
  EXPECT_EQ(consumed_, first(7));
}

TEST_P(ParallelForOrdered, ProduceThatThrowsEndsTheRunAfterTheItemsBefore) {
  auto produce = [this, count = count_to(1000)](Item& item) {
    if (produced_ == 5) throw std::runtime_error("produce");
    return count(item);
  };
  EXPECT_THROW(parallel_for_ordered<Item>(
                   options(), produce, [](Item&) {}, collect()),
               std::runtime_error);
  EXPECT_EQ(consumed_, first(5));
}

TEST_P(ParallelForOrdered, ConsumeThatThrowsEndsTheRun) {
  EXPECT_THROW(parallel_for_ordered<Item>(
                   options(), count_to(1000), [](Item&) {},
                   [&](Item& item) -> bool {
                     if (item.number == 3) throw std::runtime_error("consume");
                     consumed_.push_back(item.number);
                     return true;
                   }),
               std::runtime_error);
  EXPECT_EQ(consumed_, first(3));
}

TEST_P(ParallelForOrdered, StopRequestThrowsCancelled) {
  try {
    parallel_for_ordered<Item>(
        options(), count_to(1'000'000), [](Item&) {},
        [&](Item& item) {
          if (item.number == 10) stop_.request_stop();
          return true;
        });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::cancelled);
  }
  EXPECT_LT(produced_, 1'000'000);
}

TEST(ParallelForOrderedAlone, OneWorkerUsesOnlyTheCallersThread) {
  const auto caller = std::this_thread::get_id();
  int produced = 0;
  parallel_for_ordered<Item>(
      {1, {}},
      [&](Item&) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        return produced++ < 10;
      },
      [&](Item&) { EXPECT_EQ(std::this_thread::get_id(), caller); },
      [&](Item&) {
        EXPECT_EQ(std::this_thread::get_id(), caller);
        return true;
      });
}

TEST(ParallelForOrderedTogether, ProcessRunsOnSeveralThreadsAtOnce) {
  // Each of the first two items waits in `process` until the other one is there as well.
  std::atomic<int> arrived = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  int produced = 0;
  parallel_for_ordered<Item>(
      {2, {}}, [&](Item&) { return produced++ < 2; },
      [&](Item&) {
        ++arrived;
        while (arrived < 2 && std::chrono::steady_clock::now() < deadline)
          std::this_thread::yield();
      },
      [](Item&) { return true; });
  EXPECT_EQ(arrived, 2);
  EXPECT_LT(std::chrono::steady_clock::now(), deadline);
}

TEST(WorkerCount, ZeroMeansAtLeastOneAndOthersThemselves) {
  EXPECT_GE(worker_count(0), 1U);
  EXPECT_EQ(worker_count(1), 1U);
  EXPECT_EQ(worker_count(7), 7U);
}

}  // namespace
}  // namespace qcowkit
