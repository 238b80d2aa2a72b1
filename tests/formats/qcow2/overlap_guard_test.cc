// Where metadata lies, and that nothing else is written there.
#include "formats/qcow2/overlap_guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <ostream>
#include <string>

#include "formats/qcow2/snapshot_table.h"
#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 4096;

// --- The sets ------------------------------------------------------------------------------------

TEST(ClusterSet, RangesTouchWhatWasInserted) {
  ClusterSet set;
  for (const std::uint64_t cluster : {0u, 63u, 64u, 511u, 512u, 100000u}) set.insert(cluster);
  EXPECT_TRUE(set.touches(0, 1));
  EXPECT_FALSE(set.touches(1, 63));
  EXPECT_TRUE(set.touches(1, 64));
  EXPECT_FALSE(set.touches(65, 511));
  EXPECT_TRUE(set.touches(65, 512));
  EXPECT_FALSE(set.touches(513, 100000));
  EXPECT_TRUE(set.touches(513, 100001));
  EXPECT_TRUE(set.touches(0, 1u << 20));
}

TEST(ClusterSet, ErasedClustersAreGone) {
  ClusterSet set;
  set.insert(7);
  set.insert(8);
  set.erase(7);
  set.erase(700);  // was never there
  EXPECT_FALSE(set.touches(0, 8));
  EXPECT_TRUE(set.touches(8, 9));
}

// --- The guard -----------------------------------------------------------------------------------

TEST(OverlapGuard, MainHeaderIsAlwaysProtected) {
  const auto image = test::make_engine_image();
  OverlapGuard guard(overlap::kNone);
  guard.load(*image, Qcow2Layer::read_header(*image));
  EXPECT_STREQ(guard.hit({kCluster - 1}, 1), "header");
  EXPECT_EQ(guard.hit({kCluster}, 1), nullptr);
}

TEST(OverlapGuard, TablesReachToTheEndOfTheirLastCluster) {
  const auto image = test::make_engine_image();
  const Header header = Qcow2Layer::read_header(*image);
  OverlapGuard guard(overlap::kConstant);
  guard.load(*image, header);
  const HostOffset l1_table = header.l1_table_offset;
  EXPECT_STREQ(guard.hit(l1_table + (kCluster - 1), 1), "L1 table");
  EXPECT_STREQ(guard.hit({l1_table.value + kCluster - 1}, 5 * kCluster), "L1 table");
  EXPECT_STREQ(guard.hit(header.refcount_table_offset, 8), "refcount table");
}

TEST(OverlapGuard, ExceptedKindIsNotLookedFor) {
  OverlapGuard guard(overlap::kCached);
  const std::uint64_t l1_table[] = {9 * kCluster};
  const auto image = test::make_engine_image();
  guard.load(*image, Qcow2Layer::read_header(*image));
  guard.set_l2_tables(l1_table);
  EXPECT_STREQ(guard.hit({9 * kCluster}, 1), "active L2 table");
  EXPECT_EQ(guard.hit({9 * kCluster}, 1, overlap::kActiveL2), nullptr);
}

TEST(OverlapGuard, ReplacedTableIsForgotten) {
  const auto image = test::make_engine_image();
  OverlapGuard guard(overlap::kCached);
  guard.load(*image, Qcow2Layer::read_header(*image));
  const HostOffset old_table{20 * kCluster};
  guard.replace_l2_table(nullptr, old_table);
  guard.replace_l2_table(&old_table, {21 * kCluster});
  guard.set_refcount_table({22 * kCluster}, kCluster);
  guard.add_refcount_block({23 * kCluster});
  EXPECT_EQ(guard.hit(old_table, kCluster), nullptr);
  EXPECT_STREQ(guard.hit({21 * kCluster}, kCluster), "active L2 table");
  EXPECT_STREQ(guard.hit({22 * kCluster}, kCluster), "refcount table");
  EXPECT_STREQ(guard.hit({23 * kCluster}, kCluster), "refcount block");
}

// --- Damaged images ------------------------------------------------------------------------------

/// An image with a snapshot that shares its tables no more, open with some checks.
class GuardedImage {
 public:
  explicit GuardedImage(std::uint32_t version = 3)
      : image_(test::make_engine_image({.version = version})) {
    open(overlap::kCached);
    write(0);
    write(1);
    take_snapshot();
    write(0);
    layer_->close();
  }

  void open(std::uint32_t checks) {
    LayerOptions options;
    options.read_only = false;
    options.metadata.overlap_checks = checks;
    layer_ = std::make_unique<Qcow2Layer>(std::make_unique<test::FaultStorage>(image_), nullptr,
                                          Qcow2Layer::read_header(*image_), options);
  }
  void write(std::uint64_t cluster) {
    layer_->write({cluster * kCluster}, test::make_content(5, kCluster));
  }
  void take_snapshot() { layer_->create_snapshot({.name = "snapshot"}); }
  void set(HostOffset place, std::uint64_t value) {
    const be64 raw = value;
    image_->write(place.value, std::as_bytes(std::span(&raw, 1)));
  }
  std::vector<std::byte> cluster_at(HostOffset place) {
    std::vector<std::byte> bytes(kCluster);
    image_->read(place.value, bytes);
    return bytes;
  }

  Header header() const { return Qcow2Layer::read_header(*image_); }
  HostOffset snapshot_l1_table() const {
    return read_snapshot_table(*image_, header()).entries.at(0).l1_table_offset;
  }
  HostOffset table_in(HostOffset l1_table) const {
    return L1Entry(test::field_of(*image_, l1_table.value)).l2_table();
  }
  HostOffset l2_table() const { return table_in(header().l1_table_offset); }
  HostOffset refcount_block() const {
    return {test::field_of(*image_, header().refcount_table_offset.value)};
  }
  Qcow2Layer& layer() { return *layer_; }

 private:
  std::shared_ptr<MemoryStorage> image_;
  std::unique_ptr<Qcow2Layer> layer_;
};

/// A structure that a damaged entry points at.
struct Target {
  const char* test_name;
  const char* name;
  std::uint32_t kind;
  HostOffset (*place)(const GuardedImage& image);
};
void PrintTo(const Target& target, std::ostream* out) { *out << target.test_name; }

constexpr Target kTargets[] = {
    {"ActiveL1", "L1 table", overlap::kActiveL1,
     [](const GuardedImage& image) { return image.header().l1_table_offset; }},
    {"ActiveL2", "active L2 table", overlap::kActiveL2,
     [](const GuardedImage& image) { return image.l2_table(); }},
    {"RefcountTable", "refcount table", overlap::kRefcountTable,
     [](const GuardedImage& image) { return image.header().refcount_table_offset; }},
    {"RefcountBlock", "refcount block", overlap::kRefcountBlock,
     [](const GuardedImage& image) { return image.refcount_block(); }},
    {"SnapshotTable", "snapshot table", overlap::kSnapshotTable,
     [](const GuardedImage& image) { return image.header().snapshots_offset; }},
    {"InactiveL1", "L1 table of a snapshot", overlap::kInactiveL1,
     [](const GuardedImage& image) { return image.snapshot_l1_table(); }},
    {"InactiveL2", "L2 table of a snapshot", overlap::kInactiveL2,
     [](const GuardedImage& image) { return image.table_in(image.snapshot_l1_table()); }},
};

class OverlapOf : public testing::TestWithParam<Target> {
 protected:
  /// Makes guest cluster 5 lie where the target does.
  void damage_l2_entry() {
    image_.set(image_.l2_table() + 5 * 8, place().value | RawL2Entry::kCopied);
  }
  HostOffset place() const { return GetParam().place(image_); }

  Error expect_marked_and_refused(const std::function<void()>& request) {
    Error error = test::error_of(request);
    EXPECT_EQ(error.code(), Errc::corrupt);
    EXPECT_TRUE(image_.header().has(incompatible::kCorrupt));
    EXPECT_EQ(test::error_of([&] { image_.write(3); }).code(), Errc::corrupt) << "written on";
    return error;
  }

  GuardedImage image_;
};

/// Where a refcount block is said to be, or an L2 table.
class OverlapOfBlock : public OverlapOf {};
class OverlapOfTable : public OverlapOf {};

TEST_P(OverlapOf, L2EntryThatPointsThereIsNotWrittenThrough) {
  damage_l2_entry();
  const auto before = image_.cluster_at(place());
  image_.open(overlap::kAll);
  const Error error = expect_marked_and_refused([&] { image_.write(5); });
  EXPECT_TRUE(test::mentions(error, {"L2 table", GetParam().name}));
  EXPECT_TRUE(image_.cluster_at(place()) == before) << "it was written to";
}

TEST_P(OverlapOf, WithoutItsCheckTheWriteIsMade) {
  damage_l2_entry();
  const HostOffset where = place();
  image_.open(overlap::kAll & ~GetParam().kind);
  image_.write(5);
  EXPECT_TRUE(image_.cluster_at(where) == test::make_content(5, kCluster));
}

TEST_P(OverlapOfBlock, RefcountBlockThereIsNotUsed) {
  image_.set(image_.header().refcount_table_offset, place().value);
  const auto before = image_.cluster_at(place());
  image_.open(overlap::kAll);
  expect_marked_and_refused([&] { image_.write(9); });
  EXPECT_TRUE(GetParam().kind == overlap::kRefcountTable || image_.cluster_at(place()) == before)
      << "it was written to";
}

TEST_P(OverlapOfTable, L2TableThereIsNotWrittenTo) {
  image_.set(image_.header().l1_table_offset + 8, place().value | L1Entry::kCopied);
  image_.open(overlap::kAll);
  expect_marked_and_refused([&] { image_.write(kCluster / 8 + 1); });
}

TEST_P(OverlapOfTable, L2TableThereIsNotShared) {
  image_.set(image_.header().l1_table_offset + 8, place().value);
  const auto before = image_.cluster_at(place());
  image_.open(overlap::kAll);
  expect_marked_and_refused([&] { image_.take_snapshot(); });
  EXPECT_TRUE(image_.cluster_at(place()) == before) << "it was written to";
}

std::vector<Target> targets_without(std::uint32_t kinds) {
  std::vector<Target> targets;
  std::ranges::copy_if(kTargets, std::back_inserter(targets),
                       [=](const Target& target) { return (target.kind & kinds) == 0; });
  return targets;
}
std::string name_of(const testing::TestParamInfo<Target>& target) { return target.param.test_name; }

INSTANTIATE_TEST_SUITE_P(Targets, OverlapOf, testing::ValuesIn(kTargets), name_of);
INSTANTIATE_TEST_SUITE_P(Targets, OverlapOfBlock,
                         testing::ValuesIn(targets_without(overlap::kRefcountBlock)), name_of);
INSTANTIATE_TEST_SUITE_P(Targets, OverlapOfTable,
                         testing::ValuesIn(targets_without(overlap::kActiveL2 |
                                                           overlap::kInactiveL2)),
                         name_of);

TEST(OverlapGuard, WritesThatGoWhereTheyShouldPassAllChecks) {
  GuardedImage image;
  image.open(overlap::kAll);
  for (std::uint64_t cluster = 0; cluster < 20; ++cluster) image.write(cluster);
  image.take_snapshot();
  for (std::uint64_t cluster = 0; cluster < 20; ++cluster) image.write(cluster);
  const CheckReport report = image.layer().check({});
  EXPECT_EQ(report.corruptions + report.leaks, 0u);
}

TEST(OverlapGuard, Version2CannotBeMarkedButRefusesAllTheSame) {
  GuardedImage image(2);
  image.set(image.l2_table() + 5 * 8, image.refcount_block().value | RawL2Entry::kCopied);
  image.open(overlap::kCached);
  EXPECT_EQ(test::error_of([&] { image.write(5); }).code(), Errc::corrupt);
  EXPECT_EQ(image.header().incompatible_features, 0u);
  EXPECT_EQ(test::error_of([&] { image.write(3); }).code(), Errc::corrupt);
}

}  // namespace
}  // namespace qcowkit::qcow2
