// Leaky buckets, by a clock of the test's own.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "qcowkit/throttle.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using namespace std::chrono_literals;
using test::error_of;
constexpr ThrottleDirection kRead = ThrottleDirection::read;
constexpr ThrottleDirection kWrite = ThrottleDirection::write;

/// Requests one after the other, each made as soon as it may be.
class Queue {
 public:
  explicit Queue(const ThrottleLimits& limits) : group_("group", limits) {}

  /// How long this request has to wait, in milliseconds.
  long pass(ThrottleDirection direction, std::uint64_t length_bytes) {
    const auto start = now_;
    for (;;) {
      const auto wait = group_.try_pass(direction, length_bytes, now_);
      if (wait.count() == 0) break;
      now_ += wait;
    }
    return std::chrono::round<std::chrono::milliseconds>(now_ - start).count();
  }
  std::vector<long> pass(int count, ThrottleDirection direction, std::uint64_t length_bytes) {
    std::vector<long> waits;
    for (int i = 0; i < count; ++i) waits.push_back(pass(direction, length_bytes));
    return waits;
  }
  void rest(std::chrono::milliseconds duration) { now_ += duration; }

 private:
  ThrottleGroup group_;
  ThrottleGroup::Clock::time_point now_{1h};
};

ThrottleLimits iops(const ThrottleLimit& total) {
  ThrottleLimits limits;
  limits.iops_total = total;
  return limits;
}

TEST(ThrottleGroup, WithoutBurstsATenthOfASecondPassesAtOnce) {
  Queue queue(iops({.average = 10}));
  EXPECT_EQ(queue.pass(5, kRead, 512), (std::vector<long>{0, 0, 100, 100, 100}));
  queue.rest(10s);
  EXPECT_EQ(queue.pass(3, kRead, 512), (std::vector<long>{0, 0, 100}));
}

TEST(ThrottleGroup, LargeRequestIsPaidForByTheNext) {
  ThrottleLimits limits;
  limits.bps_total.average = 100'000;
  Queue queue(limits);
  EXPECT_EQ(queue.pass(4, kRead, 20'000), (std::vector<long>{0, 100, 200, 200}));
}

TEST(ThrottleGroup, BurstOfOneSecondPassesAtOnce) {
  Queue queue(iops({.average = 10, .maximum = 20}));
  std::vector<long> expected(21, 0);
  expected.insert(expected.end(), {100, 100});
  EXPECT_EQ(queue.pass(23, kRead, 512), expected);
}

TEST(ThrottleGroup, LongBurstKeepsToItsOwnRateAndThenToTheAverage) {
  Queue queue(iops({.average = 10, .maximum = 20, .burst_seconds = 2}));
  EXPECT_EQ(queue.pass(6, kRead, 512), (std::vector<long>{0, 0, 0, 50, 50, 50}));
  const std::vector<long> more = queue.pass(100, kRead, 512);
  EXPECT_EQ(more[60], 50);
  EXPECT_EQ(more[90], 100);
}

TEST(ThrottleGroup, RequestsLargerThanTheUnitCountAsSeveral) {
  ThrottleLimits limits = iops({.average = 10});
  limits.iops_size_bytes = 1000;
  Queue queue(limits);
  EXPECT_EQ(queue.pass(3, kRead, 3000), (std::vector<long>{0, 200, 300}));
  queue.rest(10s);
  EXPECT_EQ(queue.pass(3, kRead, 10), (std::vector<long>{0, 0, 100}));
}

TEST(ThrottleGroup, DirectionsHaveTheirOwnLimits) {
  ThrottleLimits limits;
  limits.bps_write.average = 100'000;
  Queue queue(limits);
  EXPECT_EQ(queue.pass(kWrite, 50'000), 0);
  EXPECT_EQ(queue.pass(kRead, 1'000'000), 0);
  EXPECT_EQ(queue.pass(kWrite, 20'000), 400);
}

TEST(ThrottleGroup, ContradictoryLimitsAreRefusedInTheReferencesWords) {
  const auto refusal = [](const ThrottleLimits& limits) {
    return error_of([&] { const ThrottleGroup group("group", limits); }).message();
  };
  ThrottleLimits mixed = iops({.average = 1});
  mixed.iops_read.average = 1;
  EXPECT_EQ(refusal(mixed),
            "bps/iops/max total values and read/write values cannot be used at the same time");
  ThrottleLimits sized;
  sized.bps_total.average = 5;
  sized.iops_size_bytes = 5;
  EXPECT_EQ(refusal(sized), "iops size requires an iops value to be set");
  EXPECT_EQ(refusal(iops({.average = 1'000'000'000'000'001})),
            "bps/iops/max values must be within [0, 1000000000000000]");
  EXPECT_EQ(refusal(iops({.average = 5, .maximum = 2, .burst_seconds = 0})),
            "the burst length cannot be 0");
  EXPECT_EQ(refusal(iops({.average = 5, .burst_seconds = 3})),
            "burst length set without burst rate");
  EXPECT_EQ(refusal(iops({.average = 5, .maximum = 1'000'000'000'000'000, .burst_seconds = 2})),
            "burst length too high for this burst rate");
  EXPECT_EQ(refusal(iops({.maximum = 5, .burst_seconds = 5})),
            "bps_max/iops_max require corresponding bps/iops values");
  EXPECT_EQ(refusal(iops({.average = 5, .maximum = 4})),
            "bps_max/iops_max cannot be lower than bps/iops");
}

}  // namespace
}  // namespace qcowkit
