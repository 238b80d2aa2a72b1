// Tests of commit: what base and top read as afterwards, sizes, zeroes, bitmaps, failures, crashes.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "jobs/commit.h"
#include "qcowkit/jobs.h"
#include "tests/jobs/chain_fixture.h"
#include "tests/jobs/cloning_storage.h"
#include "tests/support/crash_storage.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::error_of;
using test::LayerKind;
using test::open_for_writing;
using test::padded;
using test::RandomChain;
using test::read_all;

constexpr std::uint64_t kKiB = 1 << 10;
constexpr std::uint64_t kMiB = 1 << 20;

/// The image `depth` files behind `top`.
Image& behind(Image& top, std::size_t depth) {
  Image* image = &top;
  for (; depth > 0; --depth) image = image->backing();
  return *image;
}

class Commit : public test::ChainFixture {};

// --- Content -----------------------------------------------------------------------------------

class CommitRandom : public Commit, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Seeds, CommitRandom, testing::Range(0, 40));

TEST_P(CommitRandom, BaseReadsAsTheTopDidAndKeepsWhatLiesBehind) {
  const auto seed = static_cast<std::uint64_t>(std::random_device{}()) + GetParam();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  RandomChain chain(dir_, random);

  // The last file of the chain may be a raw one; one of the images behind the top is merged into.
  const std::size_t depth = 1 + chain.below(3);
  const std::size_t base_depth = 1 + chain.below(depth);
  const std::uint64_t size_max = chain.size();
  std::string path;
  std::string format;
  for (std::size_t i = 0; i <= depth; ++i) {
    LayerKind kind = i == 0 && chain.below(3) == 0 ? test::kBaseKind : chain.kind();
    // Images of the first version cannot grow.
    const bool is_first_version = kind.format == std::string("qcow");
    const std::uint64_t size = is_first_version ? std::max(size_max, chain.size()) : chain.size();
    path = chain.add("layer" + std::to_string(i), kind, i == depth ? size_max : size, path, format);
    format = kind.format;
  }
  const auto top = Image::open(path, open_for_writing(format));
  Image& base = behind(*top, base_depth);
  const Bytes expected = read_all(*top);
  Bytes expected_base =
      padded(read_all(base), std::max<std::uint64_t>(base.virtual_size(), expected.size()));
  std::copy(expected.begin(), expected.end(), expected_base.begin());

  CommitOptions options;
  options.keep_top = base_depth > 1 || chain.below(2) == 0;
  options.workers = 1 + static_cast<std::uint32_t>(chain.below(3));
  commit(*top, base, options);

  EXPECT_TRUE(base.is_read_only());
  ASSERT_EQ(read_all(base), expected_base);
  ASSERT_EQ(read_all(*top), expected);
  test::expect_sound(*top);
  test::expect_sound(base);
  if (!options.keep_top) {
    for (std::uint64_t at = 0; at < top->virtual_size();) {
      const Extent extent = top->map_layer(at, top->virtual_size() - at);
      EXPECT_EQ(extent.kind, ExtentKind::unallocated) << at;
      at += extent.length_bytes;
    }
  }
  top->close();
  const auto reopened = Image::open(path, open_for_writing(format));
  ASSERT_EQ(read_all(*reopened), expected);
}

TEST_F(Commit, OnlyWhatTheTopHasIsWritten) {
  make("base", 4 * kMiB);
  const auto top = open(make("top", 4 * kMiB, file("base")));
  top->write(kMiB, Bytes(64 * kKiB, std::byte{7}));
  top->write_zeroes(2 * kMiB, 64 * kKiB, true);
  commit(*top, *top->backing());
  Image& base = *top->backing();
  EXPECT_EQ(base.map(0, base.virtual_size()).length_bytes, kMiB);
  EXPECT_EQ(base.map(0, base.virtual_size()).kind, ExtentKind::unallocated);
  EXPECT_EQ(base.map(kMiB, 3 * kMiB).length_bytes, 64 * kKiB);
  EXPECT_EQ(base.map(kMiB, 3 * kMiB).kind, ExtentKind::data);
  EXPECT_NE(base.map(2 * kMiB, 2 * kMiB).kind, ExtentKind::data);
  EXPECT_EQ(base.map(2 * kMiB + 64 * kKiB, kMiB).kind, ExtentKind::unallocated);
}

TEST_F(Commit, SubclustersOfTheTopDoNotWidenToClustersOfTheBase) {
  CreateOptions options = test::raw_options(4 * kMiB);
  options.cache = CacheMode::unsafe;
  Image::create(file("base"), options);
  const auto top = open(make("top", 4 * kMiB, file("base"), "raw"));
  top->write(0, Bytes(512, std::byte{7}));
  commit(*top, *top->backing());
  Bytes bytes(1024);
  top->read(0, bytes);
  EXPECT_EQ(bytes[511], std::byte{7});
  EXPECT_EQ(bytes[512], std::byte{0});
}

TEST_F(Commit, BaseGrowsButNeverShrinks) {
  make("base", 1 * kMiB);
  const auto top = open(make("top", 3 * kMiB, file("base")));
  top->write(2 * kMiB, Bytes(512, std::byte{9}));
  commit(*top, *top->backing());
  EXPECT_EQ(top->backing()->virtual_size(), 3 * kMiB);
  top->close();
  const auto small = open(make("small", 1 * kMiB, file("base")));
  commit(*small, *small->backing());
  EXPECT_EQ(small->backing()->virtual_size(), 3 * kMiB);
}

TEST_F(Commit, GrownBaseDoesNotShowItsOwnLongerBackingFile) {
  const auto bottom = open(make("bottom", 4 * kMiB));
  bottom->write(0, Bytes(4 * kMiB, std::byte{1}));
  bottom->close();
  make("base", 1 * kMiB, file("bottom"));
  const auto top = open(make("top", 4 * kMiB, file("base")));
  const Bytes expected = read_all(*top);
  commit(*top, *top->backing());
  EXPECT_EQ(read_all(*top), expected);
  EXPECT_EQ(read_all(*top->backing()), expected);
}

TEST_F(Commit, EnabledBitmapsOfTheBaseFollow) {
  {
    const auto base = open(make("base", 4 * kMiB));
    base->add_bitmap({.name = "on"});
    base->add_bitmap({.name = "off", .enabled = false});
    base->close();
  }
  const auto top = open(make("top", 4 * kMiB, file("base")));
  top->write(kMiB, Bytes(64 * kKiB, std::byte{7}));
  commit(*top, *top->backing());
  Image& base = *top->backing();
  EXPECT_FALSE(base.map_bitmap("on", 0, kMiB).is_dirty);
  EXPECT_TRUE(base.map_bitmap("on", kMiB, 64 * kKiB).is_dirty);
  EXPECT_FALSE(base.map_bitmap("off", kMiB, 64 * kKiB).is_dirty);
  top->close();
  EXPECT_TRUE(open(file("base"))->map_bitmap("on", kMiB, 64 * kKiB).is_dirty);
}

TEST_F(Commit, BlocksAreSharedWhereTheyCanBe) {
  make("base", 4 * kMiB);
  const auto traffic = std::make_shared<test::Traffic>();
  auto top_storage = std::make_unique<test::CloningStorage>(true, traffic);
  CreateOptions create = test::qcow2_options(4 * kMiB);
  create.backing_file = file("base");
  create.backing_format = "qcow2";
  const auto top = test::make_image(create, std::move(top_storage));
  const auto target = test::make_image(test::qcow2_options(4 * kMiB),
                                       std::make_unique<test::CloningStorage>(true, traffic));
  std::mt19937_64 random(1);
  top->write(kMiB, test::data_bytes(2 * kMiB, random));
  top->write(64 * kKiB + 5, test::data_bytes(100, random));
  target->write(kMiB, Bytes(512 * kKiB, std::byte{1}));  // also into clusters that are there
  const Bytes expected = read_all(*top);
  merge_into(*top, *top->backing(), *target, {.keep_top = true});
  EXPECT_GT(traffic->cloned_bytes, kMiB);
  EXPECT_EQ(read_all(*target), expected);
  test::expect_sound(*target);
}

// --- Requests that make no sense, stops, limits ------------------------------------------------

TEST_F(Commit, BaseMustBeBehindTheTop) {
  const auto other = open(make("other", kMiB));
  make("base", kMiB);
  const auto top = open(make("top", kMiB, file("base")));
  EXPECT_EQ(error_of([&] { commit(*top, *other); }).code(), Errc::invalid_argument);
  EXPECT_EQ(error_of([&] { commit(*top, *top); }).code(), Errc::invalid_argument);
}

TEST_F(Commit, StoppedOneLeavesTheTopAsItWas) {
  make("base", kMiB);
  const auto top = open(make("top", kMiB, file("base")));
  top->write(0, Bytes(kMiB, std::byte{7}));
  const Bytes expected = read_all(*top);
  std::stop_source stop;
  stop.request_stop();
  CommitOptions options;
  options.stop = stop.get_token();
  EXPECT_EQ(error_of([&] { commit(*top, *top->backing(), options); }).code(), Errc::cancelled);
  EXPECT_EQ(read_all(*top), expected);
  EXPECT_EQ(top->map_layer(0, kMiB).kind, ExtentKind::data);
}

TEST_F(Commit, RateLimitHoldsDataBackAndNotHoles) {
  make("base", 1024 * kMiB);
  const auto top = open(make("top", 1024 * kMiB, file("base")));
  top->write(kMiB, Bytes(kMiB, std::byte{7}));
  CommitOptions options;
  options.bytes_per_second = 5 * kMiB;
  const auto begin = std::chrono::steady_clock::now();
  commit(*top, *top->backing(), options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(seconds.count(), 0.19);
}

TEST_F(Commit, ProgressGoesFromStartToEnd) {
  make("base", 8 * kMiB);
  const auto top = open(make("top", 8 * kMiB, file("base")));
  top->write(0, Bytes(8 * kMiB, std::byte{7}));
  std::vector<double> told;
  CommitOptions options;
  options.progress = [&](double fraction) { told.push_back(fraction); };
  commit(*top, *top->backing(), options);
  ASSERT_GE(told.size(), 3u);
  EXPECT_EQ(told.front(), 0);
  EXPECT_EQ(told.back(), 1);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
}

// --- Crashes -----------------------------------------------------------------------------------

/// A commit whose top and base lie on disks with one power supply.
class CommitCrash : public Commit {
 protected:
  void SetUp() override {
    std::mt19937_64 random(1);
    test::data_bytes(1, random);
    const auto base = open(make("base", kSize));
    base->write(0, test::data_bytes(kSize / 2, random));
    base->close();
    const auto top = open(make("top", kSize + 64 * kKiB, file("base")));
    top->write(64 * kKiB, test::data_bytes(3 * 64 * kKiB, random));
    top->write_zeroes(0, 64 * kKiB, true);
    top->write(kSize, test::data_bytes(1000, random));
    expected_ = read_all(*top);
    top->close();
    base_start_ = load("base");
    top_start_ = load("top");
  }
  std::unique_ptr<MemoryStorage> load(const std::string& name) const {
    const auto storage = open_file(file(name), {.read_only = true});
    Bytes bytes(storage->size());
    storage->read(0, bytes);
    auto memory = std::make_unique<MemoryStorage>(name);
    memory->write(0, bytes);
    return memory;
  }
  void store(const std::string& name, MemoryStorage& content) const {
    Bytes bytes(content.size());
    content.read(0, bytes);
    const auto storage = open_file(file(name), {.create = true, .cache = CacheMode::unsafe});
    storage->write(0, bytes);
    storage->close();
  }
  /// Runs until the power fails, if it does. The base in the top's chain stays as it was; what is
  /// written to is another image with its content.
  void run(test::CrashDisk& base_disk, test::CrashDisk& top_disk) const {
    store("base", *base_start_);
    try {
      OpenOptions top_options = open_for_writing("qcow2");
      top_options.backing_file = file("base");
      const auto top = Image::open(top_disk.open(), top_options);
      const auto target = Image::open(base_disk.open(), open_for_writing("qcow2"));
      merge_into(*top, *top->backing(), *target, {});
      target->close();
      top->close();
    } catch (const Error&) {
      // The power has failed.
    }
  }

  static constexpr std::uint64_t kSize = 512 * kKiB;
  Bytes expected_;
  std::unique_ptr<MemoryStorage> base_start_;
  std::unique_ptr<MemoryStorage> top_start_;
};

TEST_F(CommitCrash, TopReadsAsBeforeAfterACrashAtAnyWrite) {
  const auto count = [&] {
    const auto power = std::make_shared<test::Power>();
    test::CrashDisk base_disk(*base_start_, power);
    test::CrashDisk top_disk(*top_start_, power);
    run(base_disk, top_disk);
    return power->changes();
  }();
  ASSERT_GT(count, 10u);
  for (std::uint64_t n = 0; n <= count; ++n) {
    const auto power = std::make_shared<test::Power>();
    test::CrashDisk base_disk(*base_start_, power);
    test::CrashDisk top_disk(*top_start_, power);
    power->fail_after(n);
    run(base_disk, top_disk);
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE("after " + std::to_string(n) + " changes, seed " + std::to_string(seed));
      store("base", *base_disk.crash_image(seed));
      store("top", *top_disk.crash_image(seed * 31 + 1));
      const auto top = open(file("top"));
      ASSERT_EQ(read_all(*top), expected_);
    }
  }
}

}  // namespace
}  // namespace qcowkit
