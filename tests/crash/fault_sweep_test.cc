// Operations of the disk that fail, one after the other, until a run completes untouched: every
// failure is reported, what was flushed stays, the image goes on being usable, and what is on the
// disk at any time has leaks at most.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/crash/examine.h"
#include "tests/crash/named_faults.h"
#include "tests/crash/requests.h"
#include "tests/support/sanitized.h"

namespace qcowkit::test {
namespace {

using Kind = Request::Kind;

/// A shape, and what is done to it: first undisturbed, then with faults.
struct Workload {
  Shape shape;
  std::vector<Request> before;
  std::vector<Request> disturbed;
};

void PrintTo(const Workload& workload, std::ostream* out) { *out << workload.shape.name; }

class FaultSweep : public testing::TestWithParam<Workload> {};

/// One run of a workload in which one fault is armed.
class DisturbedRun {
 public:
  DisturbedRun(const Workload& workload, const ImageFiles& start, const GuestModel& at_start,
               const NamedFault& fault)
      : shape_(workload.shape),
        requests_(workload.disturbed),
        fault_(fault),
        files_(start.clone()),
        model_(at_start) {}

  /// Returns whether operation `at` was reached.
  bool run(std::uint64_t at) {
    Fault fault = fault_.fault;
    fault.at = at;
    plan_->arm(fault);
    std::unique_ptr<OpenedImage> image;
    step("open", [&] {
      image = std::make_unique<OpenedImage>(
          shape_, watched(files_.image), watched(files_.data_file), OpenedImage::Mode::read_write);
    });
    if (!image) return true;
    for (const Request& request : requests_) {
      const bool done =
          step(to_string(request), [&] { perform(request, shape_, image->layer(), model_); });
      if (!done && fault.stays) return true;
      settle(*image);
      if (plan_->has_fired() && request.kind == Kind::flush) {
        examine(shape_, files_.clone(), model_, Examination::look, 0);
      }
    }
    const bool closed = step("close", [&] {
      image->layer().close();
      model_.flushed();
    });
    if (!failed_ && plan_->has_fired()) {
      EXPECT_TRUE(fault_.may_be_absorbed) << "no call has reported the fault";
    }
    if (closed) {
      expect_sound(shape_, files_, model_, failed_ ? Leaks::allowed : Leaks::none);
    }
    image.reset();
    examine(shape_, files_, model_, Examination::use_on, at);
    return plan_->has_fired();
  }

 private:
  std::unique_ptr<Storage> watched(std::shared_ptr<Storage> storage) {
    return storage ? std::make_unique<FaultStorage>(std::move(storage), plan_) : nullptr;
  }

  /// Makes a call, and judges whether it may fail.
  bool step(const std::string& name, const std::function<void()>& call) {
    SCOPED_TRACE(name);
    const bool had_fired = plan_->has_fired();
    try {
      call();
    } catch (const Error& error) {
      EXPECT_TRUE(plan_->has_fired()) << error.what();
      // Only a failed flush is remembered.
      EXPECT_TRUE(!had_fired || fault_.fault.operations == kFlushes) << error.what();
      if (!had_fired) examine(shape_, files_.clone(), model_, Examination::look, 0);
      failed_ = true;
      return false;
    }
    const bool is_flush = name == "flush" || name == "close";
    if (fault_.fault.operations == kFlushes && plan_->has_fired() && is_flush) {
      ADD_FAILURE() << "a flush has succeeded after one that failed";
    }
    if (!had_fired && plan_->has_fired()) {
      EXPECT_TRUE(fault_.may_be_absorbed) << "the failure was not reported";
    }
    return true;
  }

  /// What the guest reads tells which parts of a failed request have happened.
  void settle(OpenedImage& image) {
    if (!plan_->has_fired()) return;  // reading would count
    try {
      EXPECT_EQ(model_.settle(image.read_all()), std::nullopt);
    } catch (const Error& error) {
      ADD_FAILURE() << "the disk cannot be read: " << error.what();
    }
  }

  const Shape& shape_;
  const std::vector<Request>& requests_;
  const NamedFault& fault_;
  const ImageFiles files_;
  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  GuestModel model_;
  bool failed_ = false;
};

TEST_P(FaultSweep, FailuresAreReportedAndHarmless) {
  const Workload& workload = GetParam();
  const ImageFiles start = create_image_files(workload.shape);
  GuestModel at_start(initial_content(workload.shape));
  {
    OpenedImage image(workload.shape, start, OpenedImage::Mode::read_write);
    for (const Request& request : workload.before) {
      perform(request, workload.shape, image.layer(), at_start);
    }
    image.layer().close();
    at_start.flushed();
  }
  // Every operation of a short workload; of a long one, every few.
  constexpr std::uint64_t kStride = kIsSanitized ? 5 : 1;
  for (const NamedFault& fault : kNamedFaults) {
    SCOPED_TRACE(fault.name);
    for (std::uint64_t at = 1;; at += kStride) {
      SCOPED_TRACE("operation " + std::to_string(at) + " fails");
      if (!DisturbedRun(workload, start, at_start, fault).run(at)) break;
      if (HasFailure()) return;
    }
  }
}

// --- The workloads.

Request write(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  return {Kind::write, guest_offset, length_bytes, false, guest_offset * 3 + length_bytes};
}
Request zeroes(std::uint64_t guest_offset, std::uint64_t length_bytes, bool may_unmap) {
  return {Kind::write_zeroes, guest_offset, length_bytes, may_unmap, 0};
}
Request discard(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  return {Kind::discard, guest_offset, length_bytes, false, 0};
}
Request write_compressed(std::uint64_t guest_offset, std::uint64_t length_bytes) {
  return {Kind::write_compressed, guest_offset, length_bytes, false, guest_offset + 77};
}
constexpr Request kFlush{};

/// Each kind of change, on clusters of each kind.
Workload every_change(Shape shape) {
  const std::uint64_t c = shape.cluster_size();
  const bool compresses = !shape.has_data_file();
  Workload workload{std::move(shape), {write(2 * c, 6 * c)}, {}};
  if (compresses) {
    workload.before.push_back(write_compressed(10 * c, c));
    workload.before.push_back(write_compressed(11 * c, c));
  }
  workload.disturbed = {
      write(3 * c + 10, 100),           // in place
      write(20 * c + 10, 100),          // allocating, with copy-on-write
      write(21 * c, 5 * c + 7),         // many clusters
      write(10 * c + 5, 50),            // over a compressed one
      zeroes(4 * c, 2 * c, false),      //
      zeroes(22 * c - 9, 2 * c, true),  //
      write(4 * c + 9, c),              // into one that reads as zeroes
      discard(2 * c, 3 * c),            //
      kFlush,                           // twice: the second time it ends what the first began
      kFlush,
      write(2 * c + 1, 2 * c),
      zeroes(10 * c + 1, 2 * c - 2, true),
      write(70 * c, 3 * c),
      kFlush,
      discard(20 * c, 20 * c),
      kFlush,
      write(30 * c, 9 * c),
  };
  if (compresses) {
    workload.disturbed.push_back(write_compressed(30 * c, c));
    workload.disturbed.push_back(write_compressed(50 * c, c));
    workload.disturbed.push_back(discard(50 * c, c));
    workload.disturbed.push_back(write_compressed(51 * c, c));
  }
  workload.disturbed.push_back(kFlush);
  workload.disturbed.push_back(kFlush);
  workload.disturbed.push_back(write(60 * c + 3, 3));
  return workload;
}

std::vector<Workload> workloads() {
  std::vector<Workload> all;
  const auto add = [&](
                       Shape shape, void (*change)(Shape&) = [](Shape&) {}) {
    change(shape);
    all.push_back(every_change(std::move(shape)));
  };
  const auto tiny_caches = [](Shape& shape) {
    shape.metadata.l2_cache_bytes = 512;
    shape.metadata.refcount_cache_bytes = 512;
  };
  add(plain_shape("Clusters512", 150 * 512 + 100, 512));
  add(with_backing(plain_shape("Clusters512TinyCachesRefcounts64", 200 * 512, 512)),
      [](Shape& shape) {
        shape.options.refcount_bits = 64;
        shape.metadata.l2_cache_bytes = 512;
        shape.metadata.refcount_cache_bytes = 512;
      });
  add(plain_shape("Clusters512TinyCaches", 150 * 512, 512), tiny_caches);
  add(plain_shape("Clusters4096", 100 * 4096, 4096));
  add(with_backing(plain_shape("Clusters8192", 80 * 8192, 8192)));
  add(with_backing(plain_shape("Clusters4096Version2", 100 * 4096, 4096)),
      [](Shape& shape) { shape.options.version = 2; });
  add(with_backing(plain_shape("Clusters4096Lazy", 100 * 4096, 4096)),
      [](Shape& shape) { shape.options.lazy_refcounts = true; });
  add(with_backing(plain_shape("ExtendedL2", 80 * 16384, 16384)),
      [](Shape& shape) { shape.options.extended_l2 = true; });
  add(with_backing(plain_shape("DataFile", 100 * 4096, 4096)),
      [](Shape& shape) { shape.options.data_file = "data"; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Workloads, FaultSweep, testing::ValuesIn(workloads()),
                         [](const auto& which) { return which.param.shape.name; });

}  // namespace
}  // namespace qcowkit::test
