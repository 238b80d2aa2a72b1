// Tests of rebase: the guest's view stays, only what differs is merged, and little is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "jobs/rebase_plan.h"
#include "qcowkit/jobs.h"
#include "tests/jobs/chain_fixture.h"
#include "tests/support/crash_storage.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::error_of;
using test::LayerKind;
using test::open_for_writing;
using test::RandomChain;
using test::read_all;

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

class Rebase : public test::ChainFixture {
 protected:
  void fill(const std::string& name, std::uint64_t offset, std::uint64_t length,
            unsigned char byte) const {
    const auto image = open(file(name));
    image->write(offset, Bytes(length, std::byte{byte}));
    image->close();
  }
  /// Gives `name` the backing file `new_name` (empty: none) and opens it again.
  std::unique_ptr<Image> rebased(const std::string& name, const std::string& new_name,
                                 RebaseOptions options = {}) const {
    std::unique_ptr<Image> new_backing;
    if (!new_name.empty()) {
      new_backing = Image::open(file(new_name));
      options.backing_file = file(new_name);
      options.backing_format = new_backing->format();
    }
    const auto image = open(file(name));
    rebase(*image, new_backing.get(), options);
    image->close();
    return open(file(name));
  }
};

class RebaseRandom : public Rebase, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RebaseRandom, testing::Range(0, 60));

TEST_P(RebaseRandom, GuestReadsWhatItReadBefore) {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}()) + GetParam();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  RandomChain chain(dir_, random);

  std::string name;  // of the last layer
  std::string format;
  std::vector<std::pair<std::string, std::string>> candidates{{"", ""}};
  const auto add_layers = [&](const std::string& prefix, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const LayerKind kind = name.empty() && chain.below(3) == 0 ? test::kBaseKind : chain.kind();
      const std::string path = name.empty() ? "" : file(name);
      name = prefix + std::to_string(i);
      chain.add(name, kind, chain.size(), path, format);
      format = kind.format;
      candidates.emplace_back(name, format);
    }
  };
  add_layers("old", chain.below(4));
  const auto [old_name, old_format] = std::pair(name, format);
  // The new chain may start somewhere within the old one.
  std::tie(name, format) = candidates[chain.below(candidates.size())];
  add_layers("new", chain.below(3));
  std::tie(name, format) = candidates[chain.below(candidates.size())];

  LayerKind kind = chain.kind();
  while (kind.format != std::string("qcow2")) kind = chain.kind();
  const std::string old_path = old_name.empty() ? "" : file(old_name);
  chain.add("image", kind, chain.size(), old_path, old_format);

  const auto image = open(file("image"));
  const Bytes expected = read_all(*image);
  RebaseOptions options;
  options.backing_file = name.empty() ? "" : file(name);
  options.backing_format = format;
  options.compress = chain.below(3) == 0;
  options.workers = 1 + static_cast<std::uint32_t>(chain.below(3));
  std::unique_ptr<Image> new_backing;
  if (!name.empty()) {
    OpenOptions open_options;
    open_options.format = format;
    new_backing = Image::open(file(name), open_options);
  }
  rebase(*image, new_backing.get(), options);
  image->close();

  const auto reopened = open(file("image"));
  EXPECT_EQ(reopened->info().backing_file, options.backing_file);
  ASSERT_EQ(read_all(*reopened), expected) << old_name << " to " << name;
  test::expect_sound(*reopened);
}

TEST_F(Rebase, OnlyClustersThatDifferAreMerged) {
  make("old", kMiB);
  make("new", kMiB);
  fill("old", 0, 256 * kKiB, 1);
  fill("new", 0, 128 * kKiB, 1);
  fill("new", 128 * kKiB, 128 * kKiB, 2);
  fill("new", 768 * kKiB, 64 * kKiB, 7);
  make("image", kMiB, file("old"));
  fill("image", 192 * kKiB, 64 * kKiB, 3);
  const auto image = rebased("image", "new");
  const auto kind_at = [&](std::uint64_t offset) { return image->map_layer(offset, 1).kind; };
  EXPECT_EQ(kind_at(0), ExtentKind::unallocated);
  EXPECT_EQ(kind_at(64 * kKiB), ExtentKind::unallocated);
  EXPECT_EQ(kind_at(128 * kKiB), ExtentKind::data);
  EXPECT_EQ(kind_at(192 * kKiB), ExtentKind::data);
  EXPECT_EQ(kind_at(256 * kKiB), ExtentKind::unallocated);
  EXPECT_EQ(kind_at(768 * kKiB), ExtentKind::zero);
}

TEST_F(Rebase, ZeroesOfAnImageWithoutBackingFileEndAsZeroClusters) {
  make("new", kMiB);
  fill("new", 0, 256 * kKiB, 1);
  make("image", kMiB);
  fill("image", 64 * kKiB, 64 * kKiB, 3);
  const auto image = rebased("image", "new");
  EXPECT_EQ(image->map_layer(0, 1).kind, ExtentKind::zero);
  EXPECT_FALSE(image->map_layer(0, 1).host_offset.has_value());
  EXPECT_EQ(image->map_layer(64 * kKiB, 1).kind, ExtentKind::data);
  EXPECT_EQ(image->map_layer(256 * kKiB, 1).kind, ExtentKind::unallocated);
}

TEST_F(Rebase, MergedClustersAreCompressedIfAskedFor) {
  make("old", kMiB);
  fill("old", 0, 256 * kKiB, 1);
  make("image", kMiB, file("old"));
  fill("image", 0, 4096, 2);
  RebaseOptions options;
  options.compress = true;
  const auto image = rebased("image", "", options);
  EXPECT_EQ(image->map_layer(0, 1).kind, ExtentKind::data);  // was there before
  EXPECT_EQ(image->map_layer(64 * kKiB, 1).kind, ExtentKind::compressed);
  EXPECT_EQ(image->map_layer(256 * kKiB, 1).kind, ExtentKind::unallocated);
}

TEST_F(Rebase, CommonImagesAreFoundByTheirFiles) {
  make("a", kMiB);
  make("b", kMiB, file("a"));
  make("c", kMiB, file("b"));
  make("other", kMiB, file("a"));
  const auto c = Image::open(file("c"));
  const auto b = Image::open(file("b"));
  const auto other = Image::open(file("other"));
  EXPECT_EQ(count_common_images(c.get(), b.get()), 2u);
  EXPECT_EQ(count_common_images(c.get(), other.get()), 1u);
  EXPECT_EQ(count_common_images(c.get(), nullptr), 0u);
  EXPECT_EQ(count_common_images(c.get(), c.get()), 3u);
}

TEST_F(Rebase, WhatBothChainsShareIsNotLookedAt) {
  make("shared", kMiB);
  fill("shared", 0, kMiB, 1);
  make("old", kMiB, file("shared"));
  fill("old", 64 * kKiB, 64 * kKiB, 2);
  make("new", kMiB, file("shared"));
  make("image", kMiB, file("old"));
  const auto image = open(file("image"));
  const auto new_backing = Image::open(file("new"));
  RebasePlanner planner(*image, new_backing.get(), 65536, 256 * kKiB);
  std::vector<RebasePiece> pieces;
  ASSERT_TRUE(planner.next(pieces));
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].begin, 64 * kKiB);
  EXPECT_EQ(pieces[0].end, 128 * kKiB);
  EXPECT_FALSE(planner.next(pieces));
}

TEST_F(Rebase, KnownZeroesAreNotLookedAt) {
  make("old", 1024 * 1024 * kMiB);
  make("new", 1024 * 1024 * kMiB);
  make("image", 1024 * 1024 * kMiB, file("old"));
  const auto image = open(file("image"));
  const auto new_backing = Image::open(file("new"));
  RebasePlanner planner(*image, new_backing.get(), 65536, 256 * kKiB);
  std::vector<RebasePiece> pieces;
  EXPECT_FALSE(planner.next(pieces));
}

TEST_F(Rebase, SourceThatCannotBeReadLeavesTheImageOverItsOldBackingFile) {
  make("old", kMiB);
  fill("old", 0, kMiB, 1);
  make("image", kMiB, file("old"));
  const auto image = open(file("image"));
  std::stop_source stop;
  stop.request_stop();
  RebaseOptions options;
  options.stop = stop.get_token();
  EXPECT_EQ(error_of([&] { rebase(*image, nullptr, options); }).code(), Errc::cancelled);
  EXPECT_EQ(image->info().backing_file, file("old"));
}

TEST_F(Rebase, RawImageCannotBeCompressed) {
  const auto raw = test::make_image(test::raw_options(kMiB));
  RebaseOptions options;
  options.compress = true;
  EXPECT_EQ(error_of([&] { rebase(*raw, nullptr, options); }).code(), Errc::unsupported);
}

TEST_F(Rebase, ImageReadsAsBeforeAfterACrashAtAnyWrite) {
  std::mt19937_64 random(1);
  make("old", 512 * kKiB);
  make("new", 512 * kKiB);
  {
    const auto old_image = open(file("old"));
    old_image->write(64 * kKiB, test::data_bytes(192 * kKiB, random));
    old_image->close();
  }
  fill("new", 0, 128 * kKiB, 5);
  for (const bool has_backing : {true, false}) {
    SCOPED_TRACE(has_backing ? "over the old file" : "alone");
    const auto start = std::make_unique<MemoryStorage>("image");
    {
      CreateOptions create = test::qcow2_options(512 * kKiB);
      create.backing_file = has_backing ? file("old") : "";
      create.backing_format = has_backing ? "qcow2" : "";
      Image::create(*start, create);
    }
    const auto run = [&](test::CrashDisk& disk) {
      try {
        const auto image = Image::open(disk.open(), open_for_writing("qcow2"));
        const auto new_backing = Image::open(file("new"));
        RebaseOptions options;
        options.backing_file = file("new");
        options.backing_format = "qcow2";
        rebase(*image, new_backing.get(), options);
        image->close();
      } catch (const Error&) {
        // The power has failed.
      }
    };
    test::CrashDisk rehearsal(*start);
    const Bytes expected = read_all(*Image::open(rehearsal.open(), open_for_writing("qcow2")));
    run(rehearsal);
    const std::uint64_t count = rehearsal.power().changes();
    ASSERT_GT(count, 5u);
    for (std::uint64_t n = 0; n <= count; ++n) {
      test::CrashDisk disk(*start);
      disk.power().fail_after(n);
      run(disk);
      for (std::uint64_t seed = 0; seed < 6; ++seed) {
        const auto image = Image::open(disk.crash_image(seed), open_for_writing("qcow2"));
        ASSERT_EQ(read_all(*image), expected) << "after " << n << " changes, seed " << seed
                                              << ", over " << image->info().backing_file;
      }
    }
  }
}

}  // namespace
}  // namespace qcowkit
