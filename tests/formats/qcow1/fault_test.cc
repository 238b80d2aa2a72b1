// Operations of the disk that fail, one after the other, until a run completes untouched: every
// failure is reported, what was flushed stays, and the image goes on being usable.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/formats/qcow1/requests.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kRequestsBefore = 15;
constexpr std::size_t kRequests = 22;

struct NamedFault {
  const char* name;
  Fault fault;
};

const NamedFault kFaults[] = {
    {"reads", {.operations = kReads}},
    {"changes", {.operations = kChanges}},
    {"changes that happen all the same", {.operations = kChanges, .torn_bytes = kAll}},
    {"torn changes", {.operations = kChanges, .torn_bytes = 512}},
    {"no space", {.operations = kChanges, .errno_value = ENOSPC}},
    {"flushes", {.operations = kFlushes}},
    {"everything from then on", {.operations = kAllOperations, .stays = true}},
};

/// One run of a workload in which one fault is armed.
class DisturbedRun {
 public:
  DisturbedRun(const Qcow1Shape& shape, const MemoryStorage& start, const GuestModel& at_start,
               const NamedFault& fault)
      : shape_(shape), fault_(fault), file_(start.clone()), model_(at_start) {}

  /// Returns whether operation `at` was reached.
  bool run(const std::vector<Operation>& requests, std::uint64_t at) {
    Fault fault = fault_.fault;
    fault.at = at;
    plan_->arm(fault);
    bool is_usable = false;
    std::unique_ptr<Qcow1Disk> disk;
    step("open", [&] {
      disk = std::make_unique<Qcow1Disk>(shape_, std::make_unique<FaultStorage>(file_, plan_));
      is_usable = true;
    });
    for (std::size_t i = 0; i < requests.size() && is_usable; ++i) {
      is_usable = step(describe(requests[i]),
                       [&] { perform(requests[i], shape_, disk->layer(), model_); }) ||
                  !fault.stays;
      if (is_usable && plan_->has_fired()) {
        EXPECT_EQ(model_.settle(disk->read_all()), std::nullopt) << describe(requests[i]);
      }
    }
    bool is_closed = false;
    if (is_usable) {
      is_closed = step("close", [&] {
        disk->layer().close();
        model_.flushed();
      });
    }
    plan_->disarm();
    expect_legal(is_closed);
    return plan_->has_fired();
  }

 private:
  /// Makes a call, and judges whether it may fail. Returns whether it has succeeded.
  bool step(const std::string& name, const std::function<void()>& call) {
    SCOPED_TRACE(name);
    const bool had_fired = plan_->has_fired();
    try {
      call();
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
      // Only a failed flush is remembered.
      EXPECT_TRUE(!had_fired || fault_.fault.operations == kFlushes) << error.what();
      return false;
    }
    EXPECT_EQ(plan_->has_fired(), had_fired) << "the failure was not reported";
    if (fault_.fault.operations == kFlushes && (name == "close" || name.starts_with("flush"))) {
      EXPECT_FALSE(had_fired) << "a flush has succeeded after one that failed";
    }
    return true;
  }

  void expect_legal(bool is_closed) {
    Qcow1Disk disk(shape_, std::make_unique<FaultStorage>(file_), Qcow1Disk::Mode::read_only);
    const auto content = disk.read_all();
    EXPECT_EQ(is_closed ? model_.compare(content) : model_.compare_after_crash(content),
              std::nullopt)
        << "opened again";
    use_on(content);
  }

  /// What failed must not get in the way of what comes later.
  void use_on(const std::vector<std::byte>& content) {
    GuestModel model(content);
    {
      Qcow1Disk disk(shape_, std::make_unique<FaultStorage>(file_));
      for (const Operation& request : draw_requests(shape_, 3, kRequestsBefore)) {
        perform(request, shape_, disk.layer(), model);
      }
      disk.layer().close();
    }
    Qcow1Disk disk(shape_, std::make_unique<FaultStorage>(file_), Qcow1Disk::Mode::read_only);
    EXPECT_EQ(model.compare(disk.read_all()), std::nullopt) << "used on";
  }

  const Qcow1Shape& shape_;
  const NamedFault& fault_;
  const std::shared_ptr<MemoryStorage> file_;
  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  GuestModel model_;
};

class Qcow1Fault : public testing::TestWithParam<Qcow1Shape> {};

TEST_P(Qcow1Fault, FailuresAreReportedAndHarmless) {
  const Qcow1Shape& shape = GetParam();
  auto start = std::make_shared<MemoryStorage>("start");
  format_qcow1(*start, shape);
  GuestModel at_start(qcow1_initial_content(shape));
  {
    Qcow1Disk disk(shape, std::make_unique<FaultStorage>(start));
    for (const Operation& request : draw_requests(shape, 1, kRequestsBefore)) {
      perform(request, shape, disk.layer(), at_start);
    }
    disk.layer().close();
    at_start.flushed();
  }
  const std::vector<Operation> requests = draw_requests(shape, 2, kRequests);
  constexpr std::uint64_t kStride = kIsSanitized ? 29 : 1;
  for (const NamedFault& fault : kFaults) {
    SCOPED_TRACE(fault.name);
    for (std::uint64_t at = 1;; at += kStride) {
      SCOPED_TRACE("operation " + std::to_string(at) + " fails");
      if (!DisturbedRun(shape, *start, at_start, fault).run(requests, at)) break;
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Qcow1Fault, testing::ValuesIn(small_qcow1_shapes()),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace qcowkit::test
