// Tests of copy: content, holes, order, backing files, shared blocks, failures.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "qcowkit/jobs.h"
#include "tests/jobs/cloning_storage.h"
#include "tests/jobs/images.h"
#include "tests/support/command.h"
#include "tests/support/fault_storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::data_bytes;
using test::make_image;
using test::qcow2_options;
using test::raw_options;
using test::read_all;

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

CopyOptions new_target() {
  CopyOptions options;
  options.target_is_zero = true;
  return options;
}

/// The whole content of an image's storage.
Bytes stored_bytes(Image& image) {
  image.flush();
  Bytes bytes(image.storage().size());
  image.storage().read(0, bytes);
  return bytes;
}

void expect_sound(Image& image) {
  if (image.cluster_size() == 0) return;
  image.flush();
  const CheckReport report = image.check();
  EXPECT_EQ(report.corruptions, 0u);
  EXPECT_EQ(report.leaks, 0u);
  for (const std::string& message : report.messages) ADD_FAILURE() << message;
}

// --- Content: every kind of source to every kind of target -------------------------------------

struct Kind {
  const char* name;
  std::uint64_t cluster_size_bytes;  // 0: raw
  bool extended_l2 = false;
  CompressionType compression = CompressionType::deflate;
};

CreateOptions options_for(const Kind& kind, std::uint64_t size_bytes) {
  if (kind.cluster_size_bytes == 0) return raw_options(size_bytes);
  CreateOptions options = qcow2_options(size_bytes, kind.cluster_size_bytes);
  options.extended_l2 = kind.extended_l2;
  options.compression = kind.compression;
  return options;
}

constexpr Kind kKinds[] = {{"raw", 0},
                           {"clusters512", 512},
                           {"clusters64k", 65536},
                           {"zstd64k", 65536, false, CompressionType::zstd},
                           {"extended128k", 131072, true},
                           {"clusters2M", 2 * kMiB}};

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

// --- Holes and zeroes --------------------------------------------------------------------------

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

// --- Backing files -----------------------------------------------------------------------------

class CopyOntoBacking : public testing::Test {
 protected:
  std::unique_ptr<Image> open(const std::string& name, bool read_only = true) {
    OpenOptions options;
    options.format = "qcow2";
    options.read_only = read_only;
    return Image::open(dir_.file(name), options);
  }
  std::unique_ptr<Image> overlay(const std::string& name, const std::string& backing,
                                 std::uint64_t size_bytes, std::uint64_t cluster_size_bytes) {
    CreateOptions options = qcow2_options(size_bytes, cluster_size_bytes);
    if (!backing.empty()) {
      options.backing_file = dir_.file(backing);
      options.backing_format = "qcow2";
    }
    Image::create(dir_.file(name), options);
    return open(name, false);
  }

  test::TempDir dir_;
};

TEST_F(CopyOntoBacking, WhatTheSharedBaseProvidesIsNotCopied) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const std::uint64_t base_size : {4 * kMiB, 2 * kMiB + 512, 6 * kMiB}) {
    test::scribble(*overlay("base", "", base_size, 4096), 15, random);
    test::scribble(*overlay("middle", "base", 3 * kMiB + 1024, 65536), 3, random);
    test::scribble(*overlay("top", "middle", 4 * kMiB, 4096), 5, random);
    const auto source = open("top");
    for (const bool compress : {false, true}) {
      const auto target = overlay("target", "base", 4 * kMiB, 65536);
      CopyOptions options;
      options.target_has_backing = true;
      options.shared_base = source->backing()->backing();
      options.compress = compress;
      copy({source.get()}, *target, options);
      EXPECT_EQ(read_all(*target), read_all(*source));
      expect_sound(*target);
    }
  }
}

TEST_F(CopyOntoBacking, UntouchedRangesStayUnallocated) {
  std::mt19937_64 random(1);
  overlay("base", "", 8 * kMiB, 65536)->write(0, data_bytes(8 * kMiB, random));
  overlay("top", "base", 8 * kMiB, 65536)->write(kMiB, data_bytes(65536, random));
  const auto source = open("top");
  const auto target = overlay("target", "base", 8 * kMiB, 65536);
  CopyOptions options;
  options.target_has_backing = true;
  options.shared_base = source->backing();
  copy({source.get()}, *target, options);
  EXPECT_EQ(target->map_layer(0, 8 * kMiB).length_bytes, kMiB);
  EXPECT_EQ(target->map_layer(kMiB, kMiB).length_bytes, 65536u);
  EXPECT_EQ(target->map_layer(kMiB + 65536, kMiB).kind, ExtentKind::unallocated);
}

TEST_F(CopyOntoBacking, WithoutSharedBaseTheBackingFileDoesNotShowThrough) {
  std::mt19937_64 random(1);
  overlay("base", "", 4 * kMiB, 65536)->write(0, data_bytes(4 * kMiB, random));
  const auto source = make_image(qcow2_options(4 * kMiB));
  source->write(kMiB, data_bytes(1000, random));
  const auto target = overlay("target", "base", 4 * kMiB, 65536);
  CopyOptions options;
  options.target_has_backing = true;
  copy({source.get()}, *target, options);
  EXPECT_EQ(read_all(*target), read_all(*source));
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

// --- Requests that make no sense, failures, progress, stopping ---------------------------------

void expect_invalid(const std::vector<Image*>& sources, Image& target, const CopyOptions& options) {
  try {
    copy(sources, target, options);
    ADD_FAILURE() << "did what makes no sense";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::invalid_argument) << error.what();
  }
}

TEST(Copy, SenselessRequestsAreInvalidArguments) {
  const auto source = make_image(raw_options(kMiB));
  const auto other = make_image(raw_options(kMiB));
  const auto small = make_image(raw_options(2 * kMiB - 512));
  const auto target = make_image(raw_options(2 * kMiB));
  expect_invalid({source.get(), other.get()}, *small, {});
  CopyOptions options;
  options.sparse_bytes = 1000;
  expect_invalid({source.get()}, *target, options);
  options = {};
  options.target_has_backing = true;
  expect_invalid({source.get(), other.get()}, *target, options);
  options.shared_base = other.get();
  expect_invalid({source.get()}, *target, options);
  options.target_has_backing = false;
  expect_invalid({source.get()}, *target, options);
}

TEST(Copy, NothingToCopyIsDone) {
  const auto source = make_image(raw_options(0));
  const auto target = make_image(raw_options(0));
  double last = 0;
  CopyOptions options;
  options.progress = [&](double fraction) { last = fraction; };
  copy({source.get()}, *target, options);
  copy({}, *target, options);
  EXPECT_EQ(last, 1.0);
}

class CopyFailure : public testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Workers, CopyFailure, testing::Values(1, 2, 4),
                         testing::PrintToStringParamName());

TEST_P(CopyFailure, FailingOperationIsReportedWhereverItIs) {
  std::mt19937_64 random(1);
  const auto behind = std::shared_ptr<Storage>(make_memory_storage("source"));
  Image::create(*behind, qcow2_options(16 * kMiB));
  const auto plan = std::make_shared<test::FaultPlan>();
  const auto target_plan = std::make_shared<test::FaultPlan>();
  OpenOptions open;
  open.read_only = false;
  const auto source = Image::open(std::make_unique<test::FaultStorage>(behind, plan), open);
  source->write(0, data_bytes(16 * kMiB, random));
  source->flush();

  for (const bool in_target : {false, true}) {
    for (const std::uint64_t at : {1, 3, 10}) {
      const auto target_behind = std::shared_ptr<Storage>(make_memory_storage("target"));
      Image::create(*target_behind, qcow2_options(16 * kMiB));
      const auto target =
          Image::open(std::make_unique<test::FaultStorage>(target_behind, target_plan), open);
      (in_target ? target_plan : plan)
          ->arm({.operations = in_target ? test::kWrites : test::kReads, .at = at});
      CopyOptions options = new_target();
      options.workers = GetParam();
      try {
        copy({source.get()}, *target, options);
        ADD_FAILURE() << "failure " << at << " went unnoticed";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), std::errc::io_error) << error.what();
        EXPECT_NE(error.message().find(in_target ? "target" : "source"), std::string::npos)
            << error.what();
      }
      plan->disarm();
      target_plan->disarm();
    }
  }
}

TEST_P(CopyFailure, StopEndsTheCopy) {
  std::mt19937_64 random(1);
  const auto source = make_image(raw_options(32 * kMiB));
  source->write(0, data_bytes(32 * kMiB, random));
  const auto target = make_image(qcow2_options(32 * kMiB));
  std::stop_source stop;
  CopyOptions options = new_target();
  options.workers = GetParam();
  options.stop = stop.get_token();
  options.progress = [&](double fraction) {
    if (fraction > 0.2) stop.request_stop();
    EXPECT_LT(fraction, 0.8);
  };
  try {
    copy({source.get()}, *target, options);
    FAIL() << "was not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::cancelled);
  }
  expect_sound(*target);
}

TEST_P(CopyFailure, ProgressRisesFromNoneToAll) {
  std::mt19937_64 random(1);
  const auto source = make_image(qcow2_options(64 * kMiB));
  source->write(0, data_bytes(4 * kMiB, random));
  source->write(32 * kMiB, data_bytes(4 * kMiB, random));
  const auto target = make_image(qcow2_options(64 * kMiB));
  std::vector<double> fractions;
  CopyOptions options = new_target();
  options.workers = GetParam();
  options.progress = [&](double fraction) { fractions.push_back(fraction); };
  copy({source.get()}, *target, options);
  ASSERT_GE(fractions.size(), 6u);
  EXPECT_EQ(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
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
