// Changes of an image as a whole in which one operation of the disk fails, for each operation until
// a run completes untouched: an error that says so, and the image is as before or as after, both
// where it is open and when it is opened again. What is written to it afterwards is kept.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "tests/crash/life_fixture.h"
#include "tests/crash/named_faults.h"
#include "tests/support/guest_model.h"
#include "tests/support/sanitized.h"

namespace qcowkit::test {
namespace {

class LifeFault : public LifeFixture {};

/// One run in which one fault is armed.
class DisturbedLife {
 public:
  DisturbedLife(const LifeCase& c, const NamedFault& fault, const ImageFiles& start,
                const LifeState& before, const LifeState& after)
      : case_(c), fault_(fault), files_(start.clone()), before_(before), after_(after) {}

  /// Returns whether operation `at` was reached.
  bool run(std::uint64_t at) {
    auto image = std::make_unique<OpenedImage>(case_.shape,
                                               std::make_unique<FaultStorage>(files_.image, plan_),
                                               nullptr, OpenedImage::Mode::read_write);
    Fault fault = fault_.fault;
    fault.at = at;
    plan_->arm(fault);
    const bool succeeded = make_change(image->layer());
    const bool has_fired = plan_->has_fired();
    plan_->disarm();  // a disk that has failed for good is judged by what it holds
    if (fault_.fault.stays && has_fired) {
      image.reset();
      expect_before_or_after(succeeded);
      return true;
    }
    use_on(*image, succeeded);
    image.reset();
    judge_files();
    return has_fired;
  }

 private:
  bool make_change(Layer& layer) {
    try {
      case_.operation(layer);
      EXPECT_TRUE(!plan_->has_fired() || fault_.may_be_absorbed || case_.tidies_up)
          << "the failure was not reported";
      return true;
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
      EXPECT_FALSE(error.message().empty());
      return false;
    }
  }

  void expect_before_or_after(bool succeeded) {
    expect_no_corruption();
    EXPECT_EQ(neither(read_state(case_.shape, files_), succeeded ? after_ : before_, after_),
              std::nullopt);
  }

  void expect_no_corruption() {
    if (!is_marked_dirty(files_)) {
      EXPECT_EQ(corruption_in(case_.shape, files_), std::nullopt);
    }
    OpenedImage image(case_.shape, files_, OpenedImage::Mode::read_write);
    EXPECT_EQ(corruption_in(case_.shape, files_), std::nullopt) << "after opening for writing";
    image.layer().close();
  }

  /// What the open image shows is one of the two; it can be written to, or says that it cannot.
  void use_on(OpenedImage& image, bool succeeded) {
    shown_ = image.read_all();
    if (succeeded) {
      EXPECT_TRUE(shown_ == after_.disk) << "the disk is not as after";
    } else {
      EXPECT_TRUE(shown_ == before_.disk || shown_ == after_.disk) << "the disk is a mixture";
    }
    try {
      write_some(image.layer());
      image.layer().flush();
      is_kept_ = true;
      EXPECT_TRUE(image.read_all() == shown_) << "writes go astray";
      image.layer().close();
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
      is_kept_ = false;
    }
  }

  /// Parts of clusters, all over the disk: the rest of each cluster has to be right, too.
  void write_some(Layer& layer) {
    for (const std::uint64_t part : {0, 1, 3, 5, 7}) {
      const std::uint64_t at = shown_.size() / 8 * part + 100;
      if (at + 50 > shown_.size()) continue;
      const auto bytes = recognisable_bytes(99, at, 50);
      layer.write({at}, bytes);
      std::ranges::copy(bytes, shown_.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

  void judge_files() {
    expect_no_corruption();
    const LifeState found = read_state(case_.shape, files_);
    LifeState before = before_;
    LifeState after = after_;
    if (is_kept_) {
      EXPECT_TRUE(found.disk == shown_) << "what was flushed is not there";
      before.disk = after.disk = shown_;
    } else {
      // Some of what was written before the image refused more may be there.
      before.disk = after.disk = found.disk;
    }
    EXPECT_EQ(neither(found, before, after), std::nullopt);
  }

  const LifeCase& case_;
  const NamedFault& fault_;
  const ImageFiles files_;
  const LifeState& before_;
  const LifeState& after_;
  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  std::vector<std::byte> shown_;
  bool is_kept_ = false;
};

TEST_P(LifeFault, IsReportedAndLeavesTheImageAsBeforeOrAsAfter) {
  constexpr std::uint64_t kStride = kIsSanitized ? 4 : 1;
  for (const NamedFault& fault : kNamedFaults) {
    SCOPED_TRACE(fault.name);
    for (std::uint64_t at = 1;; at += kStride) {
      SCOPED_TRACE("operation " + std::to_string(at) + " fails");
      try {
        if (!DisturbedLife(GetParam(), fault, start_, before_, after_).run(at)) break;
      } catch (const Error& error) {
        ADD_FAILURE() << "the image cannot be used: " << error.what();
      }
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LifeFault, testing::ValuesIn(life_cases()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
