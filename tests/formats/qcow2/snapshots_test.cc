// Internal snapshots: choosing, making, applying and deleting them.
#include "formats/qcow2/snapshots.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/formats/qcow2/layer_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow2 {
namespace {

using test::make_content;

SnapshotEntry entry_of(const std::string& id, const std::string& name) {
  SnapshotEntry entry;
  entry.id = id;
  entry.name = name;
  return entry;
}

// "2" is an id as well as a name.
const std::vector<SnapshotEntry> kEntries = {entry_of("1", "one"), entry_of("2", "two"),
                                             entry_of("7", "2")};

TEST(FindSnapshot, IdAndNameBothHaveToFit) {
  EXPECT_EQ(find_snapshot(kEntries, {"1", "one"}).id, "1");
  EXPECT_EQ(find_snapshot(kEntries, {"7", {}}).name, "2");
  EXPECT_EQ(find_snapshot(kEntries, {{}, "2"}).id, "7");
  EXPECT_EQ(test::error_of([] {
              find_snapshot(kEntries, {"1", "two"});
            }).code(),
            Errc::invalid_argument);
}

TEST(FindSnapshot, WhereEitherWillDoIdsGoFirst) {
  EXPECT_EQ(find_snapshot(kEntries, SnapshotSelector::id_or_name("2")).name, "two");
  EXPECT_EQ(find_snapshot(kEntries, SnapshotSelector::id_or_name("one")).id, "1");
  const Error error =
      test::error_of([] { find_snapshot(kEntries, SnapshotSelector::id_or_name("three")); });
  EXPECT_TRUE(test::mentions(error, {"no snapshot", "three"}));
}

TEST(NextSnapshotId, IsOneMoreThanTheLargest) {
  EXPECT_EQ(next_snapshot_id({}), "1");
  EXPECT_EQ(next_snapshot_id(kEntries), "8");
  EXPECT_EQ(next_snapshot_id({entry_of("a name", "x")}), "1");
}

class SnapshotsTest : public test::LayerTest {
 protected:
  SnapshotInfo take(const std::string& name, std::uint64_t vm_state_bytes = 0) {
    Image::NewSnapshot snapshot;
    snapshot.name = name;
    snapshot.vm_state_size_bytes = vm_state_bytes;
    return layer_->create_snapshot(snapshot);
  }
  std::vector<std::byte> vm_state(std::uint64_t length) {
    std::vector<std::byte> bytes(length);
    layer_->read_vm_state(0, bytes);
    return bytes;
  }
};

TEST_F(SnapshotsTest, SnapshotKeepsWhatIsOverwrittenAndDiscardedLater) {
  write(0, 3, 4 * cluster_);
  write_compressed(5 * cluster_, 2);
  const auto before = read(0, 8 * cluster_);
  take("one");
  write(cluster_ + 100, 7, cluster_);
  layer_->discard({0}, cluster_);
  write_compressed(5 * cluster_, 6);
  expect_clean();
  layer_->apply_snapshot({{}, "one"});
  EXPECT_TRUE(read(0, 8 * cluster_) == before);
  expect_clean();
}

TEST_F(SnapshotsTest, SnapshotOfAnEmptyDiskIsEmpty) {
  take("nothing");
  write(0, 3, 4 * cluster_);
  layer_->apply_snapshot({{}, "nothing"});
  EXPECT_TRUE(read(0, 4 * cluster_) == zeroes(4 * cluster_));
  expect_clean();
}

TEST_F(SnapshotsTest, DeletingTheLastReferenceFreesItsClusters) {
  write(0, 3, 8 * cluster_);
  const HostOffset place = host_of(0);
  take("one");
  write(0, 7, 8 * cluster_);
  layer_->delete_snapshot({{}, "one"});
  expect_clean();
  EXPECT_EQ(test::refcount_on_disk(*image_, place), 0u);
  EXPECT_TRUE(layer_->snapshots().empty());
}

TEST_F(SnapshotsTest, DiskIsWrittenInPlaceAgainOnceTheSnapshotIsGone) {
  write(0, 3, cluster_);
  const HostOffset place = host_of(0);
  take("one");
  layer_->delete_snapshot({{}, "one"});
  write(0, 7, cluster_);
  EXPECT_EQ(host_of(0), place);
}

TEST_F(SnapshotsTest, VmStateMovesIntoTheSnapshotThatTakesIt) {
  layer_->write_vm_state(0, make_content(3, 3 * cluster_));
  take("with", 3 * cluster_);
  EXPECT_TRUE(vm_state(3 * cluster_) == zeroes(3 * cluster_));
  layer_->apply_snapshot({{}, "with"});
  EXPECT_TRUE(vm_state(3 * cluster_) == make_content(3, 3 * cluster_));
  expect_clean();
}

TEST_F(SnapshotsTest, VmStateStaysWhereASnapshotTakesNone) {
  layer_->write_vm_state(0, make_content(3, 3 * cluster_));
  take("without");
  EXPECT_TRUE(vm_state(3 * cluster_) == make_content(3, 3 * cluster_));
  expect_clean();
}

TEST_F(SnapshotsTest, SnapshotBringsItsSizeBack) {
  const std::uint64_t size = layer_->virtual_size();
  write(size - cluster_, 3, cluster_);
  take("one");
  layer_->resize(cluster_, {Preallocation::off, true});
  layer_->apply_snapshot({{}, "one"});
  EXPECT_EQ(layer_->virtual_size(), size);
  EXPECT_TRUE(read(size - cluster_, cluster_) == make_content(3, cluster_));
  expect_clean();
}

TEST_F(SnapshotsTest, SnapshotThatIsNotThereIsAnError) {
  take("one");
  for (const auto& work : {std::function<void()>([&] {
                             layer_->apply_snapshot({{}, "two"});
                           }),
                           std::function<void()>([&] {
                             layer_->delete_snapshot({{}, "two"});
                           })}) {
    EXPECT_EQ(test::error_of(work).code(), Errc::invalid_argument);
  }
  EXPECT_EQ(layer_->snapshots().size(), 1u);
}

TEST_F(SnapshotsTest, DirtyBitIsSetOnlyMeanwhile) {
  write(0, 3, cluster_);
  take("one");
  EXPECT_EQ(Qcow2Layer::read_header(*image_).incompatible_features, 0u);
  layer_->delete_snapshot({{}, "one"});
  EXPECT_EQ(Qcow2Layer::read_header(*image_).incompatible_features, 0u);
}

}  // namespace
}  // namespace qcowkit::qcow2
