// Tests of copy: requests that make no sense, failures, progress, stopping.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/copy_fixture.h"
#include "tests/jobs/images.h"
#include "tests/support/fault_storage.h"

namespace qcowkit {
namespace {

using test::data_bytes;
using test::expect_sound;
using test::kMiB;
using test::make_image;
using test::new_target;
using test::qcow2_options;
using test::raw_options;

void expect_invalid(const std::vector<Image*>& sources, Image& target, const CopyOptions& options) {
  try {
    copy(sources, target, options);
    ADD_FAILURE() << "did what makes no sense";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument) << error.what();
  }
}

TEST(Copy, SenselessRequestsAreInvalidArguments) {
  const auto source = make_image(raw_options(kMiB));
  const auto other = make_image(raw_options(kMiB));
  const auto small = make_image(raw_options(2 * kMiB - 512));
  const auto target = make_image(raw_options(2 * kMiB));
  expect_invalid({source.get(), other.get()}, *small, {});
  CopyOptions options;
  options.sparse_bytes = 1000;
  expect_invalid({source.get()}, *target, options);
  options = {};
  options.target_has_backing = true;
  expect_invalid({source.get(), other.get()}, *target, options);
  options.shared_base = other.get();
  expect_invalid({source.get()}, *target, options);
  options.target_has_backing = false;
  expect_invalid({source.get()}, *target, options);
}

TEST(Copy, NothingToCopyIsDone) {
  const auto source = make_image(raw_options(0));
  const auto target = make_image(raw_options(0));
  double last = 0;
  CopyOptions options;
  options.progress = [&](double fraction) { last = fraction; };
  copy({source.get()}, *target, options);
  copy({}, *target, options);
  EXPECT_EQ(last, 1.0);
}

class CopyFailure : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, CopyFailure, testing::Values(1, 2, 4),
                         testing::PrintToStringParamName());

TEST_P(CopyFailure, FailingOperationIsReportedWhereverItIs) {
  std::mt19937_64 random(1);
  const auto behind = std::shared_ptr<Storage>(make_memory_storage("source"));
  Image::create(*behind, qcow2_options(16 * kMiB));
  const auto plan = std::make_shared<test::FaultPlan>();
  const auto target_plan = std::make_shared<test::FaultPlan>();
  OpenOptions open;
  open.read_only = false;
  const auto source = Image::open(std::make_unique<test::FaultStorage>(behind, plan), open);
  source->write(0, data_bytes(16 * kMiB, random));
  source->flush();

  for (const bool in_target : {false, true}) {
    for (const std::uint64_t at : {1, 3, 10}) {
      const auto target_behind = std::shared_ptr<Storage>(make_memory_storage("target"));
      Image::create(*target_behind, qcow2_options(16 * kMiB));
      const auto target =
          Image::open(std::make_unique<test::FaultStorage>(target_behind, target_plan), open);
      (in_target ? target_plan : plan)
          ->arm({.operations = in_target ? test::kWrites : test::kReads, .at = at});
      CopyOptions options = new_target();
      options.workers = GetParam();
      try {
        copy({source.get()}, *target, options);
        ADD_FAILURE() << "failure " << at << " went unnoticed";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), std::errc::io_error) << error.what();
        EXPECT_NE(error.message().find(in_target ? "target" : "source"), std::string::npos)
            << error.what();
      }
      plan->disarm();
      target_plan->disarm();
    }
  }
}

TEST_P(CopyFailure, StopEndsTheCopy) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(32 * kMiB));
  source->write(0, data_bytes(32 * kMiB, random));
  const auto target = make_image(qcow2_options(32 * kMiB));
  std::stop_source stop;
  CopyOptions options = new_target();
  options.workers = GetParam();
  options.stop = stop.get_token();
  options.progress = [&](double fraction) {
    if (fraction > 0.2) stop.request_stop();
    EXPECT_LT(fraction, 0.8);
  };
  try {
    copy({source.get()}, *target, options);
    FAIL() << "was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::cancelled);
  }
  expect_sound(*target);
}

TEST_P(CopyFailure, ProgressRisesFromNoneToAll) {
  std::mt19937_64 random(1);
  const auto source = make_image(qcow2_options(64 * kMiB));
  source->write(0, data_bytes(4 * kMiB, random));
  source->write(32 * kMiB, data_bytes(4 * kMiB, random));
  const auto target = make_image(qcow2_options(64 * kMiB));
  std::vector<double> fractions;
  CopyOptions options = new_target();
  options.workers = GetParam();
  options.progress = [&](double fraction) { fractions.push_back(fraction); };
  copy({source.get()}, *target, options);
  ASSERT_GE(fractions.size(), 6u);
  EXPECT_EQ(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
}

}  // namespace
}  // namespace qcowkit
