// Tests of bench: which requests are made, flushes, failures.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "qcowkit/jobs.h"
#include "tests/jobs/images.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::error_of;
using test::make_image;
using test::raw_options;
using test::read_all;

constexpr std::uint64_t kKiB = 1 << 10;

BenchOptions writes(std::uint64_t count, std::uint32_t depth) {
  BenchOptions options;
  options.write = true;
  options.count = count;
  options.depth = depth;
  options.pattern = std::byte{7};
  return options;
}

TEST(Bench, RequestsAreAStepApartAndStartAgainAtTheEnd) {
  for (const std::uint32_t depth : {1u, 2u, 64u}) {
    const auto image = make_image(raw_options(40 * kKiB));
    BenchOptions options = writes(4, depth);
    options.request_bytes = 1000;
    options.step_bytes = 15000;
    options.offset = 100;
    time_requests(*image, options);
    Bytes expected(40 * kKiB);
    for (const std::uint64_t offset : {100u, 15100u, 30100u, 4140u}) {
      std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(offset), 1000, std::byte{7});
    }
    EXPECT_EQ(read_all(*image), expected) << depth;
  }
}

TEST(Bench, EveryRequestIsMadeOnce) {
  for (const std::uint32_t depth : {1u, 3u, 64u}) {
    const auto plan = std::make_shared<test::FaultPlan>();
    const auto image = make_image(raw_options(4096 * kKiB), std::make_unique<test::FaultStorage>(
                                                                make_memory_storage(), plan));
    image->write(0, Bytes(4096 * kKiB, std::byte{1}));
    const std::uint64_t before = plan->count(test::kReads);
    BenchOptions options;
    options.count = 1000;
    options.depth = depth;
    const auto time = time_requests(*image, options);
    EXPECT_GT(time.count(), 0);
    EXPECT_EQ(plan->count(test::kReads) - before, 1000u);
  }
}

TEST(Bench, FlushComesAfterEachInterval) {
  for (const bool among : {false, true}) {
    for (const std::uint32_t depth : {1u, 4u}) {
      const auto plan = std::make_shared<test::FaultPlan>();
      const auto image = make_image(raw_options(4096 * kKiB), std::make_unique<test::FaultStorage>(
                                                                  make_memory_storage(), plan));
      const std::uint64_t before = plan->count(test::kFlushes);
      BenchOptions options = writes(100, depth);
      options.flush_interval = 8;
      options.flushes_among_writes = among;
      time_requests(*image, options);
      // Whenever what is left is a multiple of 8: after 4, 12, ... 100 requests.
      EXPECT_EQ(plan->count(test::kFlushes) - before, 13u) << among << " " << depth;
      EXPECT_EQ(plan->count(test::kWrites | test::kZeroWrites), 100u);
    }
  }
}

TEST(Bench, FirstFailureEndsIt) {
  for (const std::uint32_t depth : {1u, 8u}) {
    const auto plan = std::make_shared<test::FaultPlan>();
    const auto image = make_image(raw_options(4096 * kKiB), std::make_unique<test::FaultStorage>(
                                                                make_memory_storage(), plan));
    plan->arm({.operations = test::kWrites, .at = 50, .errno_value = ENOSPC});
    BenchOptions options = writes(100000, depth);
    options.flush_interval = 64;
    EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(),
              std::errc::no_space_on_device);
    EXPECT_LT(plan->count(test::kWrites), 1000u);
  }
}

TEST(Bench, RequestBeyondTheEndIsAnInputOutputError) {
  const auto image = make_image(raw_options(40 * kKiB));
  BenchOptions options;
  options.count = 3;
  options.request_bytes = options.step_bytes = 16 * kKiB;
  EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(), std::errc::io_error);
  options.count = 2;
  EXPECT_GT(time_requests(*image, options).count(), 0);
  options.offset = 41 * kKiB;
  EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(), std::errc::io_error);
}

TEST(Bench, OptionsThatMakeNoSenseAreRefused) {
  const auto image = make_image(raw_options(40 * kKiB));
  BenchOptions options;
  options.depth = 0;
  EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(), Errc::invalid_argument);
  options = {};
  options.step_bytes = std::uint64_t{1} << 32;
  EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(), Errc::limit_exceeded);
  std::stop_source stop;
  stop.request_stop();
  options = {};
  options.stop = stop.get_token();
  EXPECT_EQ(error_of([&] { time_requests(*image, options); }).code(), Errc::cancelled);
}

}  // namespace
}  // namespace qcowkit
