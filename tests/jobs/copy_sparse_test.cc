// Tests of copy: what is not read, not written, or shared instead of being copied.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/cloning_storage.h"
#include "tests/jobs/copy_fixture.h"
#include "tests/jobs/images.h"
#include "tests/support/fault_storage.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::data_bytes;
using test::expect_sound;
using test::Kind;
using test::kKiB;
using test::kKinds;
using test::kMiB;
using test::kTiB;
using test::make_image;
using test::new_target;
using test::options_for;
using test::qcow2_options;
using test::raw_options;
using test::read_all;

TEST(Copy, MostlyUnallocatedSourceIsNotRead) {
  std::mt19937_64 random(1);
  const auto traffic = std::make_shared<test::Traffic>();
  const auto source =
      make_image(qcow2_options(kTiB), std::make_unique<test::CloningStorage>(false, traffic));
  source->write(0, data_bytes(65536, random));
  source->write(kTiB / 2, data_bytes(65536, random));
  source->flush();
  for (const CreateOptions& kind : {raw_options(kTiB), qcow2_options(kTiB)}) {
    const auto target = make_image(kind);
    traffic->read_bytes = 0;
    copy({source.get()}, *target, new_target());
    EXPECT_LT(traffic->read_bytes, 400 * kKiB);
    Bytes expected(65536);
    Bytes found(65536);
    for (const std::uint64_t offset : {std::uint64_t{0}, kTiB / 2, kTiB / 4}) {
      source->read(offset, expected);
      target->read(offset, found);
      EXPECT_EQ(found, expected) << offset;
    }
  }
}

TEST(Copy, UnallocatedSourceLeavesNewTargetUnallocated) {
  const auto source = make_image(qcow2_options(64 * kMiB));
  const auto target = make_image(qcow2_options(64 * kMiB));
  copy({source.get()}, *target, new_target());
  const Extent extent = target->map(0, 64 * kMiB);
  EXPECT_EQ(extent.kind, ExtentKind::unallocated);
  EXPECT_EQ(extent.length_bytes, 64 * kMiB);
}

TEST(Copy, PreallocatedSourceIsNotRead) {
  const auto traffic = std::make_shared<test::Traffic>();
  CreateOptions kind = qcow2_options(256 * kMiB);
  kind.preallocation = Preallocation::metadata;
  const auto source = make_image(kind, std::make_unique<test::CloningStorage>(false, traffic));
  const auto target = make_image(qcow2_options(256 * kMiB));
  traffic->read_bytes = 0;
  copy({source.get()}, *target, new_target());
  EXPECT_LT(traffic->read_bytes, kMiB);
  EXPECT_EQ(target->map(0, 256 * kMiB).length_bytes, 256 * kMiB);
}

TEST(Copy, ZeroesInsideDataBecomeHoles) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(4 * kMiB));
  source->write(0, Bytes(4 * kMiB));
  source->write(kMiB, data_bytes(4096, random));
  const auto raw = make_image(raw_options(4 * kMiB));
  copy({source.get()}, *raw, new_target());
  EXPECT_EQ(raw->map(0, 4 * kMiB).length_bytes, kMiB);
  EXPECT_EQ(raw->map(kMiB, kMiB).length_bytes, 4096u);
  EXPECT_EQ(raw->map(kMiB + 4096, 4 * kMiB - kMiB - 4096).kind, ExtentKind::zero);

  const auto qcow2 = make_image(qcow2_options(4 * kMiB));
  copy({source.get()}, *qcow2, new_target());
  EXPECT_EQ(qcow2->map(0, 4 * kMiB).length_bytes, kMiB);
  EXPECT_EQ(qcow2->map(kMiB, kMiB).length_bytes, 65536u);
}

TEST(Copy, ShortRunsOfZeroesAreWritten) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(kMiB));
  source->write(0, data_bytes(kMiB, random));
  source->write(64 * kKiB, Bytes(8 * kKiB));
  source->write(256 * kKiB, Bytes(128 * kKiB));
  const auto target = make_image(raw_options(kMiB));
  CopyOptions options = new_target();
  options.sparse_bytes = 64 * kKiB;
  copy({source.get()}, *target, options);
  const Extent first = target->map(0, kMiB);
  EXPECT_EQ(first.kind, ExtentKind::data);
  EXPECT_EQ(first.length_bytes, 256 * kKiB);
  EXPECT_EQ(target->map(256 * kKiB, 128 * kKiB).kind, ExtentKind::zero);
  EXPECT_EQ(read_all(*target), read_all(*source));
}

TEST(Copy, WithoutSparsenessTheTargetIsFullyAllocated) {
  const auto source = make_image(qcow2_options(4 * kMiB));
  for (const CreateOptions& kind : {raw_options(4 * kMiB), qcow2_options(4 * kMiB)}) {
    const auto target = make_image(kind);
    CopyOptions options = new_target();
    options.sparse_bytes = 0;
    copy({source.get()}, *target, options);
    const Extent extent = target->map(0, 4 * kMiB);
    EXPECT_EQ(extent.kind, ExtentKind::data);
    EXPECT_EQ(extent.length_bytes, 4 * kMiB);
  }
}

TEST(Copy, PartlyZeroClusterIsWrittenOnce) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(kMiB));
  for (std::uint64_t offset = 0; offset < kMiB; offset += 16 * kKiB) {
    source->write(offset, data_bytes(4096, random));
  }
  const auto traffic = std::make_shared<test::Traffic>();
  const auto target =
      make_image(qcow2_options(kMiB), std::make_unique<test::CloningStorage>(false, traffic));
  traffic->writes = 0;
  copy({source.get()}, *target, new_target());
  EXPECT_EQ(traffic->writes, 1u);
}

// --- Shared blocks -----------------------------------------------------------------------------

TEST(Copy, BlocksAreSharedWhereTheyCanBe) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::uint64_t size = 24 * kMiB + 512;
  for (const Kind& from : {kKinds[0], kKinds[2]}) {
    for (const Kind& to : {kKinds[0], kKinds[2]}) {
      for (const std::uint32_t workers : {1u, 3u}) {
        const auto traffic = std::make_shared<test::Traffic>();
        const auto storage = [&] { return std::make_unique<test::CloningStorage>(true, traffic); };
        const auto source = make_image(options_for(from, size), storage());
        source->write(0, data_bytes(20 * kMiB, random));
        test::scribble(*source, 20, random);
        source->write(size - 100 * kKiB, data_bytes(100 * kKiB, random));
        const auto target = make_image(options_for(to, size), storage());
        traffic->read_bytes = traffic->written_bytes = 0;
        CopyOptions options = new_target();
        options.workers = workers;
        copy({source.get()}, *target, options);
        EXPECT_GT(traffic->cloned_bytes, 10 * kMiB);
        EXPECT_LT(traffic->read_bytes + traffic->written_bytes, 10 * kMiB);
        EXPECT_TRUE(read_all(*target) == read_all(*source)) << from.name << " to " << to.name;
        expect_sound(*target);
      }
    }
  }
}

TEST(Copy, SharingIsGivenUpOnceItIsRefused) {
  std::mt19937_64 random(1);
  const auto traffic = std::make_shared<test::Traffic>();
  const auto storage = [&] { return std::make_unique<test::CloningStorage>(false, traffic); };
  const auto source = make_image(raw_options(16 * kMiB), storage());
  source->write(0, data_bytes(16 * kMiB, random));
  source->write(0, Bytes(kMiB + 65536));  // found to be zeroes although sharing was to be tried
  const auto target = make_image(qcow2_options(16 * kMiB), storage());
  copy({source.get()}, *target, new_target());
  EXPECT_EQ(traffic->refused_clones, 1u);
  EXPECT_EQ(target->map(0, 16 * kMiB).kind, ExtentKind::unallocated);
  EXPECT_EQ(target->map(0, 16 * kMiB).length_bytes, kMiB + 65536);
  EXPECT_EQ(read_all(*target), read_all(*source));
}

TEST(Copy, FullyAllocatedTargetSharesNothing) {
  std::mt19937_64 random(1);
  const auto traffic = std::make_shared<test::Traffic>();
  const auto storage = [&] { return std::make_unique<test::CloningStorage>(true, traffic); };
  const auto source = make_image(raw_options(4 * kMiB), storage());
  source->write(0, data_bytes(4 * kMiB, random));
  const auto target = make_image(raw_options(4 * kMiB), storage());
  CopyOptions options = new_target();
  options.sparse_bytes = 0;
  copy({source.get()}, *target, options);
  EXPECT_EQ(traffic->clones, 0u);
}

}  // namespace
}  // namespace qcowkit
