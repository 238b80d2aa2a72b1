// Reserving host clusters and giving them back.
#include "formats/qcow2/refcounts.h"

#include <gtest/gtest.h>

#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow2 {
namespace {

/// A device of fixed size.
class Device final : public Storage {
 public:
  Device(std::shared_ptr<Storage> behind, std::uint64_t size)
      : behind_(std::move(behind)), size_(size) {}
  void readv(std::uint64_t at, std::span<const iovec> into) override { behind_->readv(at, into); }
  void writev(std::uint64_t at, std::span<const iovec> from) override { behind_->writev(at, from); }
  bool write_zeroes(std::uint64_t at, std::uint64_t bytes, ZeroOptions options) override {
    return behind_->write_zeroes(at, bytes, options);
  }
  void discard(std::uint64_t at, std::uint64_t bytes) override { behind_->discard(at, bytes); }
  void flush() override {}
  void resize(std::uint64_t, Preallocation) override {}
  std::uint64_t size() const override { return size_; }
  StorageExtent extent_at(std::uint64_t at, std::uint64_t bytes) const override {
    return behind_->extent_at(at, bytes);
  }
  bool can_grow() const noexcept override { return false; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return behind_->name(); }
  void close() override {}

 private:
  const std::shared_ptr<Storage> behind_;
  const std::uint64_t size_;
};

/// An image, its refcounts, and what the write-back does with them.
struct Fixture {
  explicit Fixture(const test::EngineOptions& options = {}, std::uint64_t device_bytes = 0)
      : image(test::make_engine_image(options)),
        device(device_bytes == 0 ? nullptr : std::make_shared<Device>(image, device_bytes)),
        header(Qcow2Layer::read_header(*image)),
        refcounts(storage(), guard, header.geometry(), 1) {
    guard.load(storage(), header);
    refcounts.load(header);
  }
  Storage& storage() { return device ? static_cast<Storage&>(*device) : *image; }
  std::uint64_t cluster_size() const { return header.geometry().cluster_size(); }
  HostOffset cluster(std::uint64_t index) const { return {index * cluster_size()}; }

  void write_back() {
    Refcounts::Dirty dirty = refcounts.begin_write();
    dirty.blocks.write_to(storage());
    dirty.table.write_to(storage());
    refcounts.end_write(dirty, true);
  }
  /// The clusters that become free.
  std::vector<HostOffset> reclaim() {
    std::vector<HostOffset> freed;
    refcounts.reclaim(refcounts.take_deferred_frees(), epochs, [&](const FreedRun& run) {
      for (std::uint64_t i = 0; i < run.clusters; ++i) {
        freed.push_back(run.host_offset + i * cluster_size());
      }
    });
    return freed;
  }
  void grow() {
    refcounts.grow_table(1, [&](HostOffset, std::uint32_t) {});
  }

  std::shared_ptr<MemoryStorage> image;
  std::shared_ptr<Device> device;
  Header header;
  Epochs epochs;
  OverlapGuard guard{overlap::kCached};
  Refcounts refcounts;
};

// In a new image: header, refcount table, refcount block, L1 table.
constexpr std::uint64_t kFirstFree = 4;

TEST(Refcounts, TheFirstFreeClustersAreReserved) {
  Fixture f;
  const HostRun run = f.refcounts.allocate(3).value();
  EXPECT_EQ(run.host_offset, f.cluster(kFirstFree));
  EXPECT_EQ(run.clusters, 3u);
  EXPECT_EQ(f.refcounts.refcount_of(f.cluster(kFirstFree + 2)), 1u);
  EXPECT_EQ(f.refcounts.allocate(1)->host_offset, f.cluster(kFirstFree + 3));
}

TEST(Refcounts, WhereNothingWasEverWrittenReadsAsZero) {
  Fixture f;
  const HostRun run = f.refcounts.allocate(2).value();
  EXPECT_TRUE(run.reads_as_zero);
  f.refcounts.release(run.host_offset, f.cluster_size());
  EXPECT_FALSE(f.refcounts.allocate(1)->reads_as_zero) << "somebody had it before";
}

TEST(Refcounts, ARunEndsAtAUsedCluster) {
  Fixture f;
  const HostRun run = f.refcounts.allocate(4).value();
  f.refcounts.release(run.host_offset, f.cluster_size());
  f.refcounts.release(run.host_offset + 2 * f.cluster_size(), f.cluster_size());
  EXPECT_EQ(f.refcounts.allocate(10)->clusters, 1u);
  EXPECT_EQ(f.refcounts.allocate(10)->host_offset, run.host_offset + 2 * f.cluster_size());
}

TEST(Refcounts, WhatIsFreedIsNotReservedBeforeTheWriteBackSaysSo) {
  Fixture f;
  const HostRun run = f.refcounts.allocate(1).value();
  f.refcounts.defer_free(run.host_offset, f.cluster_size());
  EXPECT_TRUE(f.refcounts.has_deferred_frees());
  EXPECT_NE(f.refcounts.allocate(1)->host_offset, run.host_offset);
  EXPECT_EQ(f.reclaim(), std::vector{run.host_offset});
  EXPECT_EQ(f.refcounts.allocate(1)->host_offset, run.host_offset);
}

TEST(Refcounts, WhatIsFreedIsNotReservedWhileAReaderMayHoldIt) {
  Fixture f;
  const HostRun run = f.refcounts.allocate(1).value();
  f.refcounts.defer_free(run.host_offset, f.cluster_size());
  {
    const EpochPin reader(f.epochs);
    EXPECT_TRUE(f.reclaim().empty());
    EXPECT_TRUE(f.refcounts.has_waiting_frees());
    EXPECT_EQ(f.refcounts.refcount_of(run.host_offset), 1u);
  }
  EXPECT_EQ(f.reclaim(), std::vector{run.host_offset});
  EXPECT_FALSE(f.refcounts.has_waiting_frees());
}

TEST(Refcounts, FreesComeBackWhenTheWriteBackFails) {
  Fixture f;
  f.refcounts.defer_free(f.refcounts.allocate(1)->host_offset, f.cluster_size());
  f.refcounts.return_deferred_frees(f.refcounts.take_deferred_frees());
  EXPECT_TRUE(f.refcounts.has_deferred_frees());
  EXPECT_EQ(f.reclaim().size(), 1u);
}

TEST(Refcounts, TheHeaderAndTheTablesAreNeverFreed) {
  Fixture f;
  f.refcounts.defer_free({0}, f.cluster_size());
  f.refcounts.defer_free(f.header.l1_table_offset + 100, 10);
  f.refcounts.defer_free(f.header.refcount_table_offset, f.cluster_size());
  EXPECT_TRUE(f.reclaim().empty());
  EXPECT_EQ(f.refcounts.refcount_of({0}), 1u);
}

TEST(Refcounts, CompressedStreamsShareClusters) {
  Fixture f;
  const HostOffset first = f.refcounts.allocate_bytes(1000).value();
  const HostOffset second = f.refcounts.allocate_bytes(1000).value();
  EXPECT_EQ(first, f.cluster(kFirstFree));
  EXPECT_EQ(second, first + 1000);
  EXPECT_EQ(f.refcounts.refcount_of(first), 2u);
}

TEST(Refcounts, ACompressedStreamContinuesInTheNextCluster) {
  Fixture f;
  const HostOffset first = f.refcounts.allocate_bytes(3000).value();
  const HostOffset second = f.refcounts.allocate_bytes(3000).value();
  EXPECT_EQ(second, first + 3000);
  EXPECT_EQ(f.refcounts.refcount_of(first), 2u);
  EXPECT_EQ(f.refcounts.refcount_of(second + 2999), 1u);
}

TEST(Refcounts, ACompressedStreamBeginsAnewWhereTheNextClusterIsTaken) {
  Fixture f;
  const HostOffset first = f.refcounts.allocate_bytes(3000).value();
  f.refcounts.allocate(1);
  const HostOffset second = f.refcounts.allocate_bytes(3000).value();
  EXPECT_EQ(second, f.cluster(kFirstFree + 2));
  EXPECT_EQ(f.refcounts.refcount_of(first), 1u);
}

TEST(Refcounts, CompressedStreamsShareNoClusterBeyondTheGreatestRefcount) {
  Fixture f({.refcount_bits = 1});
  const HostOffset first = f.refcounts.allocate_bytes(100).value();
  EXPECT_EQ(f.refcounts.allocate_bytes(100).value(), first + f.cluster_size());
  Fixture two({.refcount_bits = 2});
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(two.refcounts.allocate_bytes(100).value(), two.cluster(kFirstFree) + 100 * i);
  }
  EXPECT_EQ(two.refcounts.allocate_bytes(100).value(), two.cluster(kFirstFree + 1));
}

TEST(Refcounts, ASharedClusterIsFreeWhenItsLastStreamIs) {
  Fixture f;
  const HostOffset first = f.refcounts.allocate_bytes(1000).value();
  const HostOffset second = f.refcounts.allocate_bytes(1000).value();
  f.refcounts.defer_free(first, 1000);
  EXPECT_TRUE(f.reclaim().empty());
  f.refcounts.defer_free(second, 1000);
  EXPECT_EQ(f.reclaim(), std::vector{first});
}

TEST(Refcounts, NoStreamJoinsAClusterThatIsBeingFreed) {
  Fixture f;
  const HostOffset first = f.refcounts.allocate_bytes(1000).value();
  f.refcounts.defer_free(first, 1000);
  std::optional<HostOffset> other;
  f.refcounts.reclaim(f.refcounts.take_deferred_frees(), f.epochs,
                      // About to be punched.
                      [&](const FreedRun&) { other = f.refcounts.allocate_bytes(1000); });
  ASSERT_TRUE(other);
  EXPECT_NE(other->value / f.cluster_size(), first.value / f.cluster_size());
}

TEST(Refcounts, ReachTheDiskWithTheWriteBack) {
  for (const std::uint32_t bits : {1u, 2u, 4u, 8u, 16u, 32u, 64u}) {
    Fixture f({.refcount_bits = bits});
    const HostRun run = f.refcounts.allocate(2).value();
    EXPECT_EQ(test::refcount_on_disk(*f.image, run.host_offset), 0u);
    f.write_back();
    EXPECT_EQ(test::refcount_on_disk(*f.image, run.host_offset), 1u);
    EXPECT_EQ(test::refcount_on_disk(*f.image, run.host_offset + f.cluster_size()), 1u);
    EXPECT_EQ(test::refcount_on_disk(*f.image, run.host_offset + 2 * f.cluster_size()), 0u);
  }
}

TEST(Refcounts, ANewBlockCountsItself) {
  Fixture f({.cluster_size = 512});
  const std::uint64_t per_block = f.header.geometry().refcount_block_entries();
  std::uint64_t end = 0;
  while (end < per_block + 1) {
    const HostRun run = f.refcounts.allocate(1000).value();
    end = run.host_offset.value / 512 + run.clusters;
  }
  f.write_back();
  const std::uint64_t block = test::field_of(*f.image, f.header.refcount_table_offset.value + 8);
  EXPECT_EQ(block, f.cluster(per_block).value) << "the first cluster that it is about";
  EXPECT_EQ(test::refcount_on_disk(*f.image, {block}), 1u);
  EXPECT_EQ(test::refcount_on_disk(*f.image, f.cluster(end - 1)), 1u);
}

TEST(Refcounts, AFullTableGrows) {
  Fixture f({.cluster_size = 512, .refcount_bits = 64});
  std::uint64_t reserved = 0;
  while (const auto run = f.refcounts.allocate(1000)) reserved += run->clusters;
  // 64 blocks of 64 clusters, of which the image and the blocks themselves take some.
  EXPECT_EQ(reserved, 64 * 64 - 4 - 63 - 1u);
  f.write_back();
  HostOffset table{};
  std::uint32_t clusters = 0;
  f.refcounts.grow_table(1, [&](HostOffset host_offset, std::uint32_t count) {
    table = host_offset;
    clusters = count;
  });
  EXPECT_EQ(table, f.cluster(64 * 64));
  EXPECT_GT(clusters, 1u);
  const HostRun run = f.refcounts.allocate(1).value();
  EXPECT_GT(run.host_offset, table);
  EXPECT_EQ(f.reclaim(), std::vector{f.header.refcount_table_offset}) << "the old table";
}

TEST(Refcounts, ADeviceThatIsFullIsToldFromATableThatIs) {
  Fixture f({}, (kFirstFree + 2) * 4096);
  EXPECT_EQ(f.refcounts.allocate(10)->clusters, 2u);
  EXPECT_EQ(test::error_of([&] { f.refcounts.allocate(1); }).code(), std::errc::no_space_on_device);
}

TEST(Refcounts, ATableEntryThatIsUnalignedIsCorrupt) {
  auto storage = test::make_engine_image();
  const Header header = Qcow2Layer::read_header(*storage);
  const be64 entry = 0x2200;
  storage->write(header.refcount_table_offset.value, std::as_bytes(std::span(&entry, 1)));
  OverlapGuard guard(overlap::kCached);
  guard.load(*storage, header);
  Refcounts refcounts(*storage, guard, header.geometry(), 1);
  refcounts.load(header);
  const Error error = test::error_of([&] { refcounts.allocate(1); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(test::mentions(error, {"refcount table", "entry 0", "0x2200", "4096"}));
}

}  // namespace
}  // namespace qcowkit::qcow2
