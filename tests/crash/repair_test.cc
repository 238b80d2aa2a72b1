// Repairs, with the power or the disk failing in the middle: an image is never worse than before,
// what the guest reads stays, and the next repair finishes the work.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "tests/crash/crashing_image.h"
#include "tests/crash/damage.h"
#include "tests/crash/examine.h"
#include "tests/crash/requests.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

struct Patient {
  Shape shape;
  std::string name;
  Repair repair;
  void (*damage)(Damage&);
};

void PrintTo(const Patient& patient, std::ostream* out) {
  *out << patient.shape.name << patient.name;
}

class RepairTest : public testing::TestWithParam<Patient> {
 protected:
  void SetUp() override {
    constexpr std::size_t kRequests = 40;
    const Shape& shape = GetParam().shape;
    files_ = create_image_files(shape);
    GuestModel model(initial_content(shape));
    OpenedImage image(shape, files_, OpenedImage::Mode::read_write);
    Random random(1);
    for (const Request& request : random_requests(shape, kRequests, random)) {
      perform(request, shape, image.layer(), model);
    }
    image.layer().close();
    content_.assign(model.content().begin(), model.content().end());
    Damage damage(files_);
    GetParam().damage(damage);
    before_ = OpenedImage(shape, files_, OpenedImage::Mode::check).check();
  }

  GuestModel model() const { return GuestModel(content_); }

  CheckReport repair(OpenedImage& image) { return image.check(GetParam().repair); }

  /// What an interrupted repair has left.
  void examine_interrupted(const ImageFiles& files) {
    const Shape& shape = GetParam().shape;
    try {
      {
        OpenedImage image(shape, files, OpenedImage::Mode::check);
        const CheckReport report = image.check();
        EXPECT_LE(report.corruptions + report.check_errors,
                  before_.corruptions + before_.check_errors)
            << describe(report) << "\nbefore: " << describe(before_);
        EXPECT_EQ(model().compare(image.read_all()), std::nullopt);
      }
      {
        OpenedImage image(shape, files, OpenedImage::Mode::repair);
        const CheckReport report = repair(image);
        EXPECT_EQ(report.corruptions + report.check_errors + report.leaks, 0u) << describe(report);
        image.layer().close();
      }
      SCOPED_TRACE("repaired once more");
      expect_sound(shape, files, model(), Leaks::none);
    } catch (const Error& error) {
      ADD_FAILURE() << "the image cannot be used: " << error.what();
    }
  }

  ImageFiles files_;
  std::vector<std::byte> content_;
  CheckReport before_;
};

TEST_P(RepairTest, CrashesMakeNothingWorse) {
  const std::uint64_t seeds = environment_number("QCOWKIT_SEEDS").value_or(kIsSanitized ? 3 : 10);
  EXPECT_NE(before_.corruptions + before_.leaks, 0u) << "there is nothing to repair";
  std::uint64_t changes = 0;
  CrashingImage* crashing = nullptr;
  CrashingImage disks(files_, [&](std::uint64_t) {
    ++changes;
    if (HasFailure()) return;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      SCOPED_TRACE("crash after change " + std::to_string(changes) + ", seed " +
                   std::to_string(seed));
      examine_interrupted(crashing->crash(seed));
    }
  });
  crashing = &disks;
  OpenedImage image(GetParam().shape, disks.open_image(), disks.open_data_file(),
                    OpenedImage::Mode::repair);
  const CheckReport report = repair(image);
  EXPECT_EQ(report.corruptions + report.check_errors + report.leaks, 0u) << describe(report);
  EXPECT_GT(changes, 0u);
  expect_sound(GetParam().shape, disks.crash(0), model(), Leaks::none);
}

TEST_P(RepairTest, FailuresAreReportedAndMakeNothingWorse) {
  constexpr std::uint64_t kStride = kIsSanitized ? 5 : 1;
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  const Shape& shape = GetParam().shape;
  for (const Fault& kind :
       {Fault{.operations = kReads}, Fault{.operations = (kChanges & ~kDiscards) | kFlushes},
        Fault{.operations = kChanges & ~kDiscards, .torn_bytes = 512},
        Fault{.operations = kChanges & ~kDiscards, .torn_bytes = kAll}}) {
    for (std::uint64_t at = 1;; at += kStride) {
      SCOPED_TRACE("operation " + std::to_string(at) + " fails");
      Fault fault = kind;
      fault.at = at;
      const ImageFiles files = files_.clone();
      const auto plan = std::make_shared<FaultPlan>();
      plan->arm(fault);
      bool reported = false;
      try {
        OpenedImage image(shape, std::make_unique<FaultStorage>(files.image, plan),
                          share(files.data_file), OpenedImage::Mode::repair);
        const CheckReport report = repair(image);
        reported = report.check_errors + report.corruptions + report.leaks != 0;
        image.layer().close();
      } catch (const Error& error) {
        reported = true;
      }
      // What could not be read may have been read at the second attempt.
      const bool may_be_absorbed = fault.operations == kReads;
      EXPECT_TRUE(reported == plan->has_fired() || (may_be_absorbed && !reported));
      examine_interrupted(files);
      if (!plan->has_fired() || HasFailure()) break;
    }
  }
}

std::vector<Patient> patients() {
  Shape small = plain_shape("Clusters512", 300 * 512, 512);
  Shape wide = plain_shape("Clusters4096Refcounts64", 200 * 4096, 4096);
  wide.options.refcount_bits = 64;
  Shape lazy = plain_shape("Lazy", 200 * 4096, 4096);
  lazy.options.lazy_refcounts = true;
  Shape data_file = plain_shape("DataFile", 200 * 4096, 4096);
  data_file.options.data_file = "data";
  std::vector<Patient> all;
  for (const Shape& shape : {small, wide, lazy, data_file, with_backing(small)}) {
    all.push_back({shape, "Leaks", Repair::leaks, [](Damage& damage) { damage.leak(9); }});
    all.push_back({shape, "LeaksAll", Repair::all, [](Damage& damage) { damage.leak(9); }});
    all.push_back({shape, "Counts", Repair::all, [](Damage& damage) {
                     damage.leak(5);
                     damage.forget(3);
                   }});
    all.push_back(
        {shape, "Flags", Repair::all, [](Damage& damage) { damage.clear_copied_flags(); }});
    all.push_back(
        {shape, "Rebuild", Repair::all, [](Damage& damage) { damage.lose_refcount_block(); }});
    all.push_back({shape, "Dirty", Repair::all, [](Damage& damage) {
                     damage.forget(2);
                     damage.mark_dirty();
                   }});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Patients, RepairTest, testing::ValuesIn(patients()),
                         [](const auto& which) {
                           return which.param.shape.name + which.param.name;
                         });

}  // namespace
}  // namespace qcowkit::test
