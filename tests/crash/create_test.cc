// Creating an image, with the power or the disk failing in the middle: what is left is no image, or
// the whole image.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "formats/qcow2/create.h"
#include "tests/crash/crashing_image.h"
#include "tests/crash/examine.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

ImageFiles empty_files(const Shape& shape) {
  return {std::make_shared<MemoryStorage>("image"),
          shape.has_data_file() ? std::make_shared<MemoryStorage>("data file") : nullptr};
}

/// Returns whether there is an image; if so, expects it to be as a new one is.
bool is_whole_image(const Shape& shape, const ImageFiles& files) {
  try {
    OpenedImage(shape, files, OpenedImage::Mode::read_write);
  } catch (const Error&) {
    return false;
  }
  expect_sound(shape, files, GuestModel(initial_content(shape)), Leaks::none);
  return true;
}

class Creation : public testing::TestWithParam<Shape> {};

TEST_P(Creation, CrashesLeaveNoImageOrTheWholeOne) {
  const std::uint64_t seeds = environment_number("QCOWKIT_SEEDS").value_or(kIsSanitized ? 4 : 12);
  const Shape& shape = GetParam();
  std::uint64_t changes = 0;
  bool was_whole = false;
  CrashingImage* crashing = nullptr;
  const auto look = [&](std::uint64_t) {
    ++changes;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      SCOPED_TRACE("crash after change " + std::to_string(changes) + ", seed " +
                   std::to_string(seed));
      was_whole = is_whole_image(shape, crashing->crash(seed)) || was_whole;
    }
  };
  CrashingImage disks(empty_files(shape), look);
  crashing = &disks;
  const std::unique_ptr<Storage> data_file = disks.open_data_file();
  qcow2::create_image(*disks.open_image(), data_file.get(), shape.options);
  EXPECT_GT(changes, 3u);
  EXPECT_TRUE(was_whole) << "no moment at which a crash would have left an image";
  EXPECT_TRUE(is_whole_image(shape, disks.crash(0))) << "not durable on return";
}

TEST_P(Creation, FailuresAreReportedAndLeaveNoImageOrTheWholeOne) {
  const Shape& shape = GetParam();
  for (const std::uint64_t torn_bytes :
       {std::uint64_t{0}, std::uint64_t{512}, std::numeric_limits<std::uint64_t>::max()}) {
    for (std::uint64_t at = 1;; ++at) {
      SCOPED_TRACE("operation " + std::to_string(at) + " fails");
      const ImageFiles files = empty_files(shape);
      const auto plan = std::make_shared<FaultPlan>();
      plan->arm({.at = at, .torn_bytes = torn_bytes});
      FaultStorage image(files.image, plan);
      FaultStorage data_file(files.data_file ? files.data_file : std::make_shared<MemoryStorage>(),
                             plan);
      bool failed = false;
      try {
        qcow2::create_image(image, files.data_file ? &data_file : nullptr, shape.options);
      } catch (const Error& error) {
        failed = true;
        EXPECT_EQ(error.code(), std::errc::io_error);
      }
      EXPECT_EQ(failed, plan->has_fired());
      const bool is_whole = is_whole_image(shape, files);
      if (!plan->has_fired()) {
        EXPECT_TRUE(is_whole);
        break;
      }
    }
  }
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  all.push_back(plain_shape("Plain", 1 << 20, 65536));
  all.push_back(with_backing(plain_shape("Clusters512", 300 * 512, 512)));
  Shape preallocated = plain_shape("Preallocated", 100 * 1024 + 512, 1024);
  preallocated.options.refcount_bits = 64;
  preallocated.options.preallocation = Preallocation::metadata;
  all.push_back(preallocated);
  Shape full = plain_shape("PreallocatedFull", 100 * 4096, 4096);
  full.options.preallocation = Preallocation::full;
  all.push_back(full);
  Shape data_file = plain_shape("DataFileRaw", 1 << 20, 16384);
  data_file.options.data_file = "data";
  data_file.options.data_file_raw = true;
  data_file.options.extended_l2 = true;
  all.push_back(data_file);
  Shape version2 = plain_shape("Version2", 1 << 20, 4096);
  version2.options.version = 2;
  all.push_back(version2);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Creation, testing::ValuesIn(shapes()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace qcowkit::test
