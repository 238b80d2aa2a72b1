// A repair that is cut off by a crash, or by an I/O error, at any point makes nothing worse.
#include <gtest/gtest.h>

#include "formats/qcow2/check.h"
#include "qcowkit/error.h"
#include "storage/memory_storage.h"
#include "tests/formats/qcow2/check_damages.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

using qcowkit::test::CrashDisk;
using qcowkit::test::FaultStorage;
using test::Damage;
using test::guest_view;
using test::SmallImage;

/// Clusters whose refcount is lower than the number of references: what a later write may destroy.
/// Flags are left out: between a refcount and the flag that tells of it, one comes first.
std::uint64_t endangered(const CheckReport& report) {
  std::uint64_t n = 0;
  for (const std::string& line : report.messages) n += line.rfind("ERROR cluster ", 0) == 0;
  return n;
}

class RepairCutOff : public testing::TestWithParam<Damage> {};

TEST_P(RepairCutOff, ByACrashMakesNothingWorse) {
  const SmallImage image = GetParam().make();
  auto start = image.storage();
  const CheckReport before = test::check(*start);
  const std::vector<std::string> view = guest_view(*start, image);
  const auto& memory = dynamic_cast<const MemoryStorage&>(*start);

  CrashDisk rehearsal(memory);
  test::check(*rehearsal.open(), Repair::all);
  for (std::uint64_t changes = 0; changes <= rehearsal.power().changes(); ++changes) {
    CrashDisk disk(memory);
    disk.power().fail_after(changes);
    try {
      test::check(*disk.open(), Repair::all);
    } catch (const Error&) {
      // The power has failed.
    }
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE(testing::Message() << "crash after " << changes << " changes, seed " << seed);
      auto left = disk.crash_image(seed);
      const CheckReport after = test::check(*left);
      EXPECT_LE(endangered(after), endangered(before));
      EXPECT_TRUE(after.check_errors == 0 || before.check_errors != 0);
      const std::vector<std::string> view_after = guest_view(*left, image);
      ASSERT_EQ(view_after.size(), view.size());
      for (std::size_t i = 0; i < view.size(); ++i) {
        if (view[i].rfind("2 ", 0) == 0) continue;
        EXPECT_EQ(view[i], view_after[i]) << "guest cluster " << i;
      }
      // And the next repair gets as far as one that was not cut off.
      EXPECT_EQ(test::verdict_of(test::check(*left, Repair::all)), GetParam().left_by_all);
    }
  }
}

TEST_P(RepairCutOff, ByAnIoErrorReportsItAndMakesNothingWorse) {
  const SmallImage image = GetParam().make();
  auto start = image.storage();
  const CheckReport before = test::check(*start);
  constexpr qcowkit::test::Operations kAll = qcowkit::test::kChanges | qcowkit::test::kFlushes;
  FaultStorage counting(image.storage());
  test::check(counting, Repair::all);
  for (std::uint64_t at = 1; at <= counting.plan().count(kAll); ++at) {
    SCOPED_TRACE(testing::Message() << "operation " << at);
    std::shared_ptr<Storage> behind = image.storage();
    FaultStorage faulty(behind);
    faulty.plan().arm({.operations = kAll, .at = at, .stays = true});
    EXPECT_THROW(test::check(faulty, Repair::all), Error);
    EXPECT_LE(endangered(test::check(*behind)), endangered(before));
  }
}

TEST_P(RepairCutOff, ByAReadErrorNeverFreesWhatIsInUse) {
  const SmallImage image = GetParam().make();
  const CheckReport before = test::check(*image.storage());
  FaultStorage counting(image.storage());
  test::check(counting, Repair::all);
  for (std::uint64_t at = 1; at <= counting.plan().count(qcowkit::test::kReads); ++at) {
    SCOPED_TRACE(testing::Message() << "read " << at);
    std::shared_ptr<Storage> behind = image.storage();
    FaultStorage faulty(behind);
    faulty.plan().arm({.operations = qcowkit::test::kReads, .at = at});
    try {
      test::check(faulty, Repair::all);
    } catch (const Error&) {
      // Also right.
    }
    EXPECT_LE(endangered(test::check(*behind)), endangered(before));
  }
}

INSTANTIATE_TEST_SUITE_P(Damages, RepairCutOff, testing::ValuesIn(test::damages()),
                         [](const testing::TestParamInfo<Damage>& damage) {
                           return damage.param.name;
                         });

}  // namespace
}  // namespace qcowkit::qcow2
