// What zero flags become where a version does not know them.
#include "formats/qcow2/zero_expansion.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "formats/raw/raw_layer.h"
#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kCluster = 4096;

/// An image that is changed to version 2, over a backing file of noise or over nothing.
class ZeroExpansion : public testing::TestWithParam<bool> {
 protected:
  ZeroExpansion() : image_(test::make_engine_image()) {
    if (has_backing()) {
      auto base = std::make_unique<MemoryStorage>("base");
      base->write(0, test::make_content(7, 1 << 20));
      backing_ = std::make_unique<raw::RawLayer>(std::move(base), true);
      open();
      AmendOptions options;
      options.backing_file = "base";
      layer_->amend(options);
      layer_->close();
    }
    open();
  }

  static bool has_backing() { return GetParam(); }
  void open() {
    LayerOptions options;
    options.read_only = false;
    layer_ = std::make_unique<Qcow2Layer>(std::make_unique<test::FaultStorage>(image_), nullptr,
                                          Qcow2Layer::read_header(*image_), options);
    layer_->set_backing(backing_.get());
  }
  void write(std::uint64_t cluster) {
    layer_->write({cluster * kCluster}, test::make_content(3 + 4 * cluster, kCluster));
  }
  void zero(std::uint64_t cluster, bool may_unmap) {
    layer_->write_zeroes({cluster * kCluster}, kCluster, may_unmap);
  }
  void take_snapshot(const std::string& name) { layer_->create_snapshot({.name = name}); }
  std::vector<std::byte> read_all() {
    std::vector<std::byte> disk(layer_->virtual_size());
    layer_->read({0}, disk);
    return disk;
  }
  HostOffset host_of(std::uint64_t cluster) {
    return layer_->map({cluster * kCluster}, 1).host_offset;
  }
  std::uint64_t file_clusters() const { return image_->size() / kCluster; }

  /// Expects the same disk, in a sound image of version 2.
  void expect_nothing_but_the_version_changes() {
    const auto before = read_all();
    AmendOptions options;
    options.version = 2;
    layer_->amend(options);
    EXPECT_TRUE(read_all() == before);
    layer_->close();
    open();
    EXPECT_EQ(Qcow2Layer::read_header(*image_).version, 2u);
    EXPECT_TRUE(read_all() == before) << "opened again";
    const CheckReport report = layer_->check({});
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0u)
        << (report.messages.empty() ? "" : report.messages.front());
  }

  std::shared_ptr<MemoryStorage> image_;
  std::unique_ptr<Layer> backing_;
  std::unique_ptr<Qcow2Layer> layer_;
};

TEST_P(ZeroExpansion, ZeroClustersWithoutAPlaceReadAsZeroes) {
  zero(2, true);
  zero(700, true);  // in the second L2 table
  expect_nothing_but_the_version_changes();
  EXPECT_EQ(layer_->map({2 * kCluster}, 1).kind,
            has_backing() ? ExtentKind::data : ExtentKind::unallocated);
}

TEST_P(ZeroExpansion, PreallocatedClusterIsUsedOrGivenBack) {
  write(2);
  const HostOffset place = host_of(2);
  zero(2, false);
  expect_nothing_but_the_version_changes();
  if (has_backing()) {
    EXPECT_EQ(host_of(2), place);
  } else {
    EXPECT_EQ(layer_->map({2 * kCluster}, 1).kind, ExtentKind::unallocated);
  }
}

TEST_P(ZeroExpansion, TablesThatSnapshotsShareAreExpandedOnce) {
  write(1);
  write(2);
  zero(2, false);
  zero(3, true);
  take_snapshot("one");
  take_snapshot("two");
  const auto snapshot_before = read_all();
  expect_nothing_but_the_version_changes();
  layer_->write({0}, test::make_content(5, 8 * kCluster));
  layer_->apply_snapshot({{}, "one"});
  EXPECT_TRUE(read_all() == snapshot_before);
}

TEST_P(ZeroExpansion, ClusterThatDifferentTablesShareIsNotWrittenTo) {
  write(2);
  zero(2, false);
  take_snapshot("one");
  write(3);  // the disk has a table of its own now
  zero(4, true);
  expect_nothing_but_the_version_changes();
}

TEST_P(ZeroExpansion, OtherClustersStayWhereTheyAre) {
  write(1);
  const auto plain = test::make_content(6, kCluster);
  layer_->write_compressed({5 * kCluster}, layer_->compress(plain, 0), plain);
  zero(2, true);
  const HostOffset place = host_of(1);
  expect_nothing_but_the_version_changes();
  EXPECT_EQ(host_of(1), place);
  EXPECT_EQ(layer_->map({5 * kCluster}, 1).kind, ExtentKind::compressed);
}

TEST_P(ZeroExpansion, WithoutZeroFlagsTheFileStaysAsLargeAsItIs) {
  write(1);
  write(9);
  layer_->flush();
  const std::uint64_t before = file_clusters();
  expect_nothing_but_the_version_changes();
  EXPECT_EQ(file_clusters(), before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ZeroExpansion, testing::Bool(), [](const auto& kind) {
  return kind.param ? "OverABackingFile" : "Alone";
});

}  // namespace
}  // namespace qcowkit::qcow2
