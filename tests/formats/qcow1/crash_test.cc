// Power failures at any moment, with any legal part of the unflushed writes lost: what was flushed
// is there, nothing that never was appears, and the image can be used on.
//
// QCOWKIT_SEEDS=n runs n rounds for each shape; QCOWKIT_SEED=s replays one.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/formats/qcow1/requests.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

constexpr std::size_t kRequests = 40;
constexpr std::uint64_t kMoments = kIsSanitized ? 10 : 50;
constexpr std::uint64_t kCrashesPerMoment = 3;

class Qcow1Crash : public testing::TestWithParam<Qcow1Shape> {
 protected:
  /// Runs the requests until the power fails.
  static void run(CrashDisk& disk, const std::vector<Operation>& requests, GuestModel& model) {
    try {
      Qcow1Disk opened(GetParam(), disk.open());
      for (const Operation& request : requests) {
        perform(request, GetParam(), opened.layer(), model);
      }
      opened.layer().close();
      model.flushed();
    } catch (const Error& error) {
      EXPECT_FALSE(disk.power().is_on()) << error.what();
    }
  }

  /// Judges what the crash has left, and goes on with it.
  static void examine(std::shared_ptr<MemoryStorage> left, const GuestModel& model,
                      std::uint64_t seed) {
    try {
      std::vector<std::byte> content =
          Qcow1Disk(GetParam(), std::make_unique<FaultStorage>(left), Qcow1Disk::Mode::read_only)
              .read_all();
      ASSERT_EQ(model.compare_after_crash(content), std::nullopt);
      GuestModel used_on(std::move(content));
      {
        Qcow1Disk disk(GetParam(), std::make_unique<FaultStorage>(left));
        for (const Operation& request : draw_requests(GetParam(), seed, 12)) {
          perform(request, GetParam(), disk.layer(), used_on);
        }
        ASSERT_EQ(used_on.compare(disk.read_all()), std::nullopt) << "used on";
        disk.layer().close();
      }
      Qcow1Disk again(GetParam(), std::make_unique<FaultStorage>(left), Qcow1Disk::Mode::read_only);
      ASSERT_EQ(used_on.compare(again.read_all()), std::nullopt) << "used on and opened again";
    } catch (const Error& error) {
      FAIL() << "the image cannot be used: " << error.what();
    }
  }

  static void run_seed(std::uint64_t seed) {
    SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
    MemoryStorage start("start");
    format_qcow1(start, GetParam());
    const GuestModel at_start(qcow1_initial_content(GetParam()));
    const std::vector<Operation> requests = draw_requests(GetParam(), seed, kRequests);

    CrashDisk rehearsal(start);
    GuestModel rehearsed = at_start;
    run(rehearsal, requests, rehearsed);
    const std::uint64_t changes = rehearsal.power().changes();
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < kMoments && !HasFailure(); ++i) {
      const std::uint64_t at = changes <= kMoments ? i : random() % (changes + 1);
      CrashDisk disk(start);
      disk.power().fail_after(at);
      GuestModel model = at_start;
      run(disk, requests, model);
      for (std::uint64_t crash = 0; crash < kCrashesPerMoment && !HasFailure(); ++crash) {
        const std::uint64_t fates = random() % 4 == 0 ? random() % 2 : random();
        SCOPED_TRACE("crash after change " + std::to_string(at) + ", lost and torn by seed " +
                     std::to_string(fates));
        examine(disk.crash_image(fates), model, random());
      }
    }
  }
};

TEST_P(Qcow1Crash, LeavesEveryByteThatWasFlushedAndNothingElse) {
  for_each_seed(kIsSanitized ? 1 : 3, run_seed, [] { return HasFailure(); });
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qcow1Crash, testing::ValuesIn(small_qcow1_shapes()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
