// Tests of measure: the reference's numbers, from a table and side by side.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/images.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;
constexpr std::uint64_t kTiB = kGiB << 10;

struct Shape {
  std::uint64_t size_bytes;
  std::uint64_t cluster_size_bytes;
  std::uint32_t refcount_bits;
  bool extended_l2;
};

CreateOptions options_for(const Shape& shape) {
  CreateOptions options = test::qcow2_options(shape.size_bytes, shape.cluster_size_bytes);
  options.refcount_bits = shape.refcount_bits;
  options.extended_l2 = shape.extended_l2;
  return options;
}

TEST(Measure, NewQcow2ImageNeedsWhatTheReferenceSays) {
  struct Case {
    Shape shape;
    std::uint64_t required_bytes;
    std::uint64_t fully_allocated_bytes;
  };
  // From `qemu-img measure --size`, version 7.2.
  const Case cases[] = {
      {{0, 65536, 16, false}, 196608, 196608},
      {{1, 65536, 16, false}, 327680, 393216},
      {{kMiB, 65536, 16, false}, 327680, 1376256},
      {{512 * kMiB, 65536, 16, false}, 327680, 537198592},
      {{512 * kMiB + 1, 65536, 16, false}, 393216, 537329664},
      {{kTiB, 65536, 16, false}, 168034304, 1099679662080},
      {{2048 * kTiB, 65536, 16, false}, 343650009088, 2252143463694336},
      {{10 * kGiB, 512, 16, false}, 213841408, 10951259648},
      {{10 * kGiB, 4096, 16, false}, 26288128, 10763706368},
      {{10 * kGiB, 2 * kMiB, 16, false}, 10485760, 10747904000},
      {{10 * kGiB, 65536, 1, false}, 1572864, 10738991104},
      {{10 * kGiB, 65536, 64, false}, 2883584, 10740301824},
      {{10 * kGiB, 65536, 16, true}, 3211264, 10740629504},
      {{10 * kGiB, 16384, 16, true}, 11862016, 10749280256},
      {{128 * kGiB, 512, 16, false}, 2737157632, 140176111104},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.shape.size_bytes);
    SCOPED_TRACE(c.shape.cluster_size_bytes);
    const Measurement measured = measure(options_for(c.shape));
    EXPECT_EQ(measured.required_bytes, c.required_bytes);
    EXPECT_EQ(measured.fully_allocated_bytes, c.fully_allocated_bytes);
    EXPECT_FALSE(measured.bitmaps_bytes.has_value());
  }
}

TEST(Measure, PreallocatedImageNeedsAllAtOnce) {
  CreateOptions options = test::qcow2_options(10 * kGiB);
  for (const auto preallocation : {Preallocation::falloc, Preallocation::full}) {
    options.preallocation = preallocation;
    EXPECT_EQ(measure(options).required_bytes, 10739318784u);
  }
  options.preallocation = Preallocation::metadata;
  EXPECT_EQ(measure(options).required_bytes, 1900544u);
}

TEST(Measure, RawImageIsWholeSectors) {
  const Measurement measured = measure(test::raw_options(1000));
  EXPECT_EQ(measured.required_bytes, 1024u);
  EXPECT_EQ(measured.fully_allocated_bytes, 1024u);
  EXPECT_EQ(measure(test::raw_options(0)).required_bytes, 0u);
}

TEST(Measure, ImpossibleShapesAreInvalidArguments) {
  const auto expect_invalid = [](const CreateOptions& options) {
    try {
      measure(options);
      ADD_FAILURE() << "measured an impossible image";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::invalid_argument) << error.what();
    }
  };
  expect_invalid(options_for({kMiB, 1000, 16, false}));
  expect_invalid(options_for({kMiB, 256, 16, false}));
  expect_invalid(options_for({kMiB, 4 * kMiB, 16, false}));
  expect_invalid(options_for({kMiB, 65536, 3, false}));
  expect_invalid(options_for({kMiB, 65536, 128, false}));
  expect_invalid(options_for({kMiB, 65536, 0, false}));
  expect_invalid(options_for({kMiB, 8192, 16, true}));
  expect_invalid(options_for({128 * kGiB + 1, 512, 16, false}));
  expect_invalid(options_for({~std::uint64_t{0}, 2 * kMiB, 16, false}));
  CreateOptions version_2 = options_for({kMiB, 65536, 8, false});
  version_2.version = 2;
  expect_invalid(version_2);
  CreateOptions without_size;
  without_size.format = "qcow2";
  expect_invalid(without_size);
}

TEST(Measure, UnknownFormatIsUnsupported) {
  CreateOptions options = test::raw_options(kMiB);
  options.format = "vmdk";
  try {
    measure(options);
    FAIL() << "measured an unknown format";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
  }
}

/// What the reference says, or nothing where it refuses.
nlohmann::json reference_measure(const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {"qemu-img", "measure", "--output=json"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const test::CommandResult result = test::run(argv);
  return result.ok() ? nlohmann::json::parse(result.out) : nlohmann::json();
}

std::string option_text(const CreateOptions& options) {
  return "cluster_size=" + std::to_string(options.cluster_size_bytes) +
         ",refcount_bits=" + std::to_string(options.refcount_bits) +
         ",extended_l2=" + (options.extended_l2 ? "on" : "off");
}

CreateOptions random_options(std::mt19937_64& random) {
  Shape shape{};
  shape.cluster_size_bytes = std::uint64_t{512} << random() % 13;
  shape.refcount_bits = 1U << random() % 7;
  shape.extended_l2 = shape.cluster_size_bytes >= 16384 && random() % 2 == 0;
  shape.size_bytes = random() >> (15 + random() % 49);
  if (random() % 3 == 0) {
    shape.size_bytes = shape.size_bytes / shape.cluster_size_bytes * shape.cluster_size_bytes;
  }
  return options_for(shape);
}

TEST(Measure, RandomShapesAgreeWithTheReference) {
  if (!test::have_command("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 40; ++i) {
    const CreateOptions options = random_options(random);
    SCOPED_TRACE(std::to_string(*options.size_bytes) + " " + option_text(options));
    const nlohmann::json expected = reference_measure(
        {"--size", std::to_string(*options.size_bytes), "-O", "qcow2", "-o", option_text(options)});
    if (expected.is_null()) {
      EXPECT_THROW(measure(options), Error);
      continue;
    }
    const Measurement measured = measure(options);
    EXPECT_EQ(measured.required_bytes, expected["required"].get<std::uint64_t>());
    EXPECT_EQ(measured.fully_allocated_bytes, expected["fully-allocated"].get<std::uint64_t>());
  }
}

/// Measures the image in `path` for `target` both ways.
void expect_agreement(const CreateOptions& target, const std::string& path,
                      const std::string& format) {
  std::string text = option_text(target);
  if (!target.backing_file.empty()) text += ",backing_file=" + target.backing_file;
  const nlohmann::json expected =
      reference_measure({"-f", format, "-O", "qcow2", "-o", text, path});
  ASSERT_FALSE(expected.is_null());
  OpenOptions open;
  open.format = format;
  const auto source = Image::open(path, open);
  const Measurement measured = measure(target, source.get());
  EXPECT_EQ(measured.required_bytes, expected["required"].get<std::uint64_t>()) << text;
  EXPECT_EQ(measured.fully_allocated_bytes, expected["fully-allocated"].get<std::uint64_t>());
  EXPECT_EQ(measured.bitmaps_bytes.has_value(), expected.contains("bitmaps"));
  if (expected.contains("bitmaps")) {
    EXPECT_EQ(measured.bitmaps_bytes.value_or(1), expected["bitmaps"].get<std::uint64_t>());
  }
}

class MeasureSource : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::have_command("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
    seed_ = std::random_device{}();
    random_.seed(seed_);
  }

  std::string create(const std::string& name, const CreateOptions& options) {
    const std::string path = dir_.file(name);
    Image::create(path, options);
    return path;
  }
  void scribble(const std::string& path, int operations) {
    OpenOptions open;
    open.read_only = false;
    const auto image = Image::open(path, open);
    test::scribble(*image, operations, random_);
    image->close();
  }

  test::TempDir dir_;
  unsigned seed_ = 0;
  std::mt19937_64 random_;
};

TEST_F(MeasureSource, ImageWithHolesAgreesWithTheReference) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  for (int i = 0; i < 4; ++i) {
    const std::string raw =
        create("source.raw", test::raw_options(8 * kMiB + 512 * (random_() % 100)));
    const std::string qcow2 =
        create("source.qcow2", test::qcow2_options(8 * kMiB, std::uint64_t{4096} << random_() % 6));
    scribble(raw, 6);
    scribble(qcow2, 6);
    for (int j = 0; j < 4; ++j) {
      const CreateOptions target = random_options(random_);
      expect_agreement(target, raw, "raw");
      expect_agreement(target, qcow2, "qcow2");
    }
  }
}

TEST_F(MeasureSource, ChainAgreesWithTheReferenceWithAndWithoutBackingFile) {
  SCOPED_TRACE("seed " + std::to_string(seed_));
  const std::string base = create("base.qcow2", test::qcow2_options(8 * kMiB));
  scribble(base, 5);
  CreateOptions overlay = test::qcow2_options(12 * kMiB, 4096);
  overlay.backing_file = base;
  overlay.backing_format = "qcow2";
  const std::string top = create("top.qcow2", overlay);
  scribble(top, 5);
  CreateOptions target = test::qcow2_options(0, 65536);
  expect_agreement(target, top, "qcow2");
  target.backing_file = base;
  expect_agreement(target, top, "qcow2");
}

TEST_F(MeasureSource, PreallocatedMetadataCountsAsHoles) {
  CreateOptions options = test::qcow2_options(8 * kMiB);
  options.preallocation = Preallocation::metadata;
  expect_agreement(test::qcow2_options(0, 65536), create("source.qcow2", options), "qcow2");
}

TEST_F(MeasureSource, BitmapsAreCountedWhereTheyCanBeCopied) {
  const std::string path = create("source.qcow2", test::qcow2_options(kGiB));
  for (const std::string granularity : {"512", "65536", "1048576"}) {
    ASSERT_TRUE(test::run({"qemu-img", "bitmap", "--add", "-g", granularity, path,
                           "a bitmap of granularity " + granularity})
                    .ok());
  }
  for (const std::uint64_t cluster_size : {512u, 4096u, 65536u}) {
    expect_agreement(test::qcow2_options(0, cluster_size), path, "qcow2");
  }
  const auto source = Image::open(path);
  CreateOptions version_2 = test::qcow2_options(0, 65536);
  version_2.version = 2;
  EXPECT_FALSE(measure(version_2, source.get()).bitmaps_bytes.has_value());
  EXPECT_FALSE(measure(test::raw_options(0), source.get()).bitmaps_bytes.has_value());
}

}  // namespace
}  // namespace qcowkit
