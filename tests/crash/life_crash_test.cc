// Power failures in the middle of changes of an image as a whole: at every change of the disk, with
// any legal part of the unflushed writes lost, the image is what it was before or what it is
// afterwards, check finds leaks at most, and the image can be used on.
//
// QCOWKIT_SEEDS=n looks at n crashes after each change; QCOWKIT_SEED=s only at the one of seed s.
#include <gtest/gtest.h>

#include <string>

#include "tests/crash/crashing_image.h"
#include "tests/crash/life_fixture.h"
#include "tests/support/guest_model.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kSeedsDefault = kIsSanitized ? 2 : 4;

class LifeCrash : public LifeFixture {
 protected:
  /// `files` are what a crash has left.
  void examine(const ImageFiles& files, bool is_done) {
    try {
      if (!is_marked_dirty(files)) {
        EXPECT_EQ(corruption_in(shape(), files), std::nullopt);
      }
      const LifeState found = read_state(shape(), files);
      EXPECT_EQ(neither(found, is_done ? after_ : before_, after_), std::nullopt);
      go_on_writing(files, found);
    } catch (const Error& error) {
      ADD_FAILURE() << "the image cannot be used: " << error.what();
    }
  }

 private:
  /// As its owner would: a writer repairs what says that it is dirty, and snapshots stay.
  static void go_on_writing(const ImageFiles& files, LifeState expected) {
    OpenedImage image(shape(), files, OpenedImage::Mode::read_write);
    EXPECT_EQ(corruption_in(shape(), files), std::nullopt) << "after opening for writing";
    for (const std::uint64_t part : {0, 1, 3, 7}) {
      const std::uint64_t at = expected.disk.size() / 8 * part;
      if (expected.disk.empty()) break;
      const auto bytes = recognisable_bytes(99, at, expected.disk.size() / 16);
      image.layer().write({at}, bytes);
      std::ranges::copy(bytes, expected.disk.begin() + static_cast<std::ptrdiff_t>(at));
    }
    image.layer().close();
    EXPECT_EQ(corruption_in(shape(), files), std::nullopt) << "used on";
    EXPECT_EQ(neither(read_state(shape(), files), expected, expected), std::nullopt) << "used on";
  }
};

TEST_P(LifeCrash, LeavesTheImageAsBeforeOrAsAfter) {
  std::uint64_t changes = 0;
  bool is_done = false;
  const CrashingImage* crashing = nullptr;
  const auto look = [&](std::uint64_t) {
    ++changes;
    for_each_seed(
        kSeedsDefault,
        [&](std::uint64_t seed) {
          // Losing all and keeping all, and others that differ from change to change.
          const std::uint64_t crash_seed = seed < 2 ? seed : seed + changes * 1000;
          SCOPED_TRACE("crash after change " + std::to_string(changes) +
                       ", QCOWKIT_SEED=" + std::to_string(seed));
          examine(crashing->crash(crash_seed), is_done);
        },
        [] { return HasFailure(); });
  };
  CrashingImage disks(start_, look);
  crashing = &disks;
  const auto image = disks.open(shape());
  GetParam().operation(image->layer());
  is_done = true;
  image->layer().close();
  EXPECT_GT(changes, 0u);
  EXPECT_EQ(neither(read_state(shape(), disks.crash(0)), after_, after_), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Cases, LifeCrash, testing::ValuesIn(life_cases()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
