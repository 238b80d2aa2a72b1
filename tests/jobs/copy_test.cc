// Tests of copy: every kind of source to every kind of target, the order of clusters, compression.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/copy_fixture.h"
#include "tests/jobs/images.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::data_bytes;
using test::expect_sound;
using test::Kind;
using test::kKiB;
using test::kKinds;
using test::kMiB;
using test::make_image;
using test::new_target;
using test::options_for;
using test::qcow2_options;
using test::raw_options;
using test::read_all;
using test::stored_bytes;

class CopyKinds : public testing::TestWithParam<std::tuple<Kind, Kind>> {};

INSTANTIATE_TEST_SUITE_P(All, CopyKinds,
                         testing::Combine(testing::ValuesIn(kKinds), testing::ValuesIn(kKinds)),
                         [](const auto& kinds) {
                           return std::string(std::get<0>(kinds.param).name) + "To" +
                                  std::get<1>(kinds.param).name;
                         });

TEST_P(CopyKinds, RandomContentIsCopiedWithEveryOption) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto& [source_kind, target_kind] = GetParam();
  const std::uint64_t size = 3 * kMiB + 512 * (random() % 300);
  const auto source = make_image(options_for(source_kind, size));
  test::scribble(*source, 30, random);
  const Bytes expected = read_all(*source);

  for (const bool is_new : {true, false}) {
    for (const bool compress : {false, true}) {
      if (compress && target_kind.cluster_size_bytes == 0) continue;
      constexpr std::uint64_t kSparseBytes[] = {4096, 0, 512, 65536};
      CopyOptions options;
      options.sparse_bytes = kSparseBytes[random() % 4];
      options.target_is_zero = is_new;
      options.compress = compress;
      options.workers = 1 + random() % 3;
      options.out_of_order_writes = random() % 2 == 0;
      SCOPED_TRACE("sparse " + std::to_string(options.sparse_bytes) + (is_new ? " new" : " old") +
                   (compress ? " compressed" : ""));
      const auto target = make_image(options_for(target_kind, size));
      if (!is_new) test::scribble(*target, 10, random);
      copy({source.get()}, *target, options);
      ASSERT_EQ(read_all(*target), expected);
      expect_sound(*target);
    }
  }
}

TEST(Copy, SourcesFollowEachOther) {
  std::mt19937_64 random(1);
  const std::uint64_t sizes[] = {100 * 512, 3 * kMiB + 512, 0, 65536};
  std::vector<std::unique_ptr<Image>> images;
  std::vector<Image*> sources;
  Bytes expected;
  for (const std::uint64_t size : sizes) {
    images.push_back(make_image(size % 3 == 0 ? raw_options(size) : qcow2_options(size)));
    if (size != 0) test::scribble(*images.back(), 8, random);
    sources.push_back(images.back().get());
    const Bytes content = read_all(*images.back());
    expected.insert(expected.end(), content.begin(), content.end());
  }
  for (const bool compress : {false, true}) {
    const auto target = make_image(qcow2_options(expected.size() + 5 * kMiB));
    CopyOptions options = new_target();
    options.compress = compress;
    copy(sources, *target, options);
    Bytes wanted = expected;
    wanted.resize(target->virtual_size());
    EXPECT_EQ(read_all(*target), wanted);
    expect_sound(*target);
  }
}

TEST(Copy, RestOfLargerTargetIsLeftAsItIs) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(kMiB + 512));
  source->write(0, data_bytes(kMiB, random));
  for (const CreateOptions& kind : {raw_options(2 * kMiB), qcow2_options(2 * kMiB)}) {
    for (const bool compress : {false, true}) {
      if (compress && kind.format == "raw") continue;
      const auto target = make_image(kind);
      const Bytes old = data_bytes(2 * kMiB, random);
      target->write(0, old);
      CopyOptions options;
      options.compress = compress;
      copy({source.get()}, *target, options);
      Bytes expected = read_all(*source);
      expected.insert(expected.end(), old.begin() + kMiB + 512, old.end());
      EXPECT_EQ(read_all(*target), expected) << kind.format;
    }
  }
}

// --- Order -------------------------------------------------------------------------------------

TEST(Copy, ResultDoesNotDependOnTheNumberOfWorkers) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto source = make_image(qcow2_options(24 * kMiB, 4096));
  test::scribble(*source, 120, random);
  for (const bool compress : {false, true}) {
    Bytes first;
    for (const std::uint32_t workers : {1u, 2u, 5u}) {
      const auto target = make_image(qcow2_options(24 * kMiB));
      CopyOptions options = new_target();
      options.compress = compress;
      options.workers = workers;
      copy({source.get()}, *target, options);
      const Bytes bytes = stored_bytes(*target);
      if (first.empty()) first = bytes;
      EXPECT_EQ(bytes, first) << workers << " workers, compressed: " << compress;
    }
  }
}

TEST(Copy, ClustersLieInGuestOrder) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(16 * kMiB));
  source->write(0, data_bytes(16 * kMiB, random));
  const auto target = make_image(qcow2_options(16 * kMiB));
  CopyOptions options = new_target();
  options.workers = 4;
  copy({source.get()}, *target, options);
  std::uint64_t last = 0;
  int extents = 0;
  for (std::uint64_t offset = 0; offset < 16 * kMiB; ++extents) {
    const Extent extent = target->map(offset, 16 * kMiB - offset);
    ASSERT_EQ(extent.kind, ExtentKind::data);
    EXPECT_GT(extent.host_offset.value(), last);
    last = *extent.host_offset;
    offset += extent.length_bytes;
  }
  EXPECT_LE(extents, 3);  // metadata may lie in between
}

// --- Compression -------------------------------------------------------------------------------

TEST(Copy, CompressedCopyIsCompressedAndSmaller) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(4 * kMiB));
  source->write(0, data_bytes(2 * kMiB, random));
  const auto target = make_image(qcow2_options(4 * kMiB));
  CopyOptions options = new_target();
  options.compress = true;
  copy({source.get()}, *target, options);
  EXPECT_EQ(target->map(0, 65536).kind, ExtentKind::compressed);
  EXPECT_EQ(target->map(2 * kMiB, 2 * kMiB).kind, ExtentKind::unallocated);
  EXPECT_LT(target->storage().size(), 1600 * kKiB);
}

TEST(Copy, RawTargetCannotBeCompressed) {
  const auto source = make_image(raw_options(kMiB));
  const auto target = make_image(raw_options(kMiB));
  CopyOptions options = new_target();
  options.compress = true;
  try {
    copy({source.get()}, *target, options);
    FAIL() << "compressed a raw image";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::unsupported);
  }
}

// --- The second opinion ------------------------------------------------------------------------

TEST(Copy, ReferenceReadsTheSameFromTheTarget) {
  if (!test::have_command("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const test::TempDir dir;
  const std::uint64_t size = 5 * kMiB + 512;
  Image::create(dir.file("source"), qcow2_options(size, 4096));
  OpenOptions open;
  open.format = "qcow2";
  open.read_only = false;
  const auto source = Image::open(dir.file("source"), open);
  test::scribble(*source, 40, random);
  source->close();
  open.read_only = true;
  for (const Kind& kind : kKinds) {
    for (const bool compress : {false, true}) {
      if (compress && kind.cluster_size_bytes == 0) continue;
      const CreateOptions create = options_for(kind, size);
      Image::create(dir.file("target"), create);
      OpenOptions open_target;
      open_target.format = create.format;
      open_target.read_only = false;
      const auto from = Image::open(dir.file("source"), open);
      const auto target = Image::open(dir.file("target"), open_target);
      CopyOptions options = new_target();
      options.compress = compress;
      copy({from.get()}, *target, options);
      target->close();
      const auto result = test::run({"qemu-img", "compare", "-f", "qcow2", "-F", create.format,
                                     dir.file("source"), dir.file("target")});
      EXPECT_TRUE(result.ok()) << kind.name << ": " << result.out << result.err;
      if (create.format == "qcow2") {
        const auto check = test::run({"qemu-img", "check", dir.file("target")});
        EXPECT_TRUE(check.ok()) << check.out << check.err;
      }
    }
  }
}

}  // namespace
}  // namespace qcowkit
