// Growing a disk by clusters that have a place in the file from the start.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "formats/qcow2/create.h"
#include "formats/qcow2/qcow2_layer.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit {
namespace {

using test::FaultPlan;
using test::FaultStorage;

/// An image whose disk grows.
struct Case {
  const char* name;
  std::uint64_t cluster_size;
  std::uint64_t old_size;
  std::uint64_t new_size;
  std::uint32_t refcount_bits = 16;
  std::uint32_t version = 3;
  bool extended_l2 = false;
  bool lazy_refcounts = false;
  bool data_file = false;
};

// With clusters of 512 bytes, a table is for 32 KiB of the disk. With 64 bits, a refcount block is
// for as much of the file, and one cluster of the refcount table for 2 MiB.
const Case kCases[] = {
    {"FromNothing", 512, 0, 300 * 1024},
    {"FromWithinATable", 512, 40 * 1024 + 512, 1 << 20},
    {"FromWithinACluster", 512, 40 * 1024 + 100, (1 << 20) + 100},
    {"FromATablesEnd", 512, 64 * 1024, 64 * 1024 + 512},
    {"WithinTheLastTable", 4096, 100 * 1024, 900 * 1024 + 1},
    {"WithinTheLastCluster", 4096, 4097, 5000},
    {"TheRefcountTableGrows", 512, 10 * 1024, 5 << 20, 64},
    {"RefcountsOfOneBit", 512, 10 * 1024, 3 << 20, 1},
    {"RefcountsOfEightBits", 1024, 10 * 1024 + 512, 3 << 20, 8},
    {"Version2", 512, 10 * 1024, 1 << 20, 16, 2},
    {"LazyRefcounts", 512, 10 * 1024, 1 << 20, 16, 3, false, true},
    {"ExtendedL2", 16384, 100 * 1024, (40 << 20) + 512, 16, 3, true},
    {"ExtendedL2InASubcluster", 16384, 100, (18 << 20) + 700, 16, 3, true},
    {"DataFile", 512, 40 * 1024 + 512, 1 << 20, 16, 3, false, false, true},
    {"ManyTablesAtOnce", 4096, 1 << 20, std::uint64_t{3} << 30},
};

class Preallocated : public testing::TestWithParam<Case> {
 protected:
  Preallocated() {
    const Case& c = GetParam();
    CreateOptions create;
    create.format = "qcow2";
    create.size_bytes = c.old_size;
    create.cluster_size_bytes = c.cluster_size;
    create.refcount_bits = c.refcount_bits;
    create.version = c.version;
    create.extended_l2 = c.extended_l2;
    create.lazy_refcounts = c.lazy_refcounts;
    if (c.data_file) {
      create.data_file = "data";
      // Behind the disk's end, it has something else.
      data_file_->write(0, test::make_content(3, c.old_size + 50 * c.cluster_size));
    }
    qcow2::create_image(*image_, nullptr, create);
    open();
    content_ = test::make_content(7, c.old_size);
    if (c.old_size != 0) layer_->write({0}, content_);
  }

  void open() {
    if (layer_) layer_->close();
    qcow2::LayerOptions options;
    options.read_only = false;
    layer_ = std::make_unique<qcow2::Qcow2Layer>(
        std::make_unique<FaultStorage>(image_, plan_),
        GetParam().data_file ? std::make_unique<FaultStorage>(data_file_, plan_) : nullptr,
        qcow2::Qcow2Layer::read_header(*image_), options);
  }
  void grow(Preallocation preallocation) {
    layer_->resize(GetParam().new_size, {preallocation, false});
  }
  /// What was on the disk is there, and behind it are zeroes.
  void expect_content() {
    std::vector<std::byte> bytes(content_.size());
    layer_->read({0}, bytes);
    EXPECT_TRUE(bytes == content_);
    std::vector<std::byte> part;
    const std::uint64_t size = layer_->virtual_size();
    for (std::uint64_t at = content_.size(); at < size; at += part.size()) {
      // All of a small disk, and a sample of a large one.
      const std::uint64_t skip = size > (64u << 20) && at > (1u << 20) ? (64u << 20) : 0;
      at = std::min(at + skip, size - 1);
      part.resize(std::min<std::uint64_t>(size - at, 1 << 20));
      layer_->read({at}, part);
      ASSERT_TRUE(std::ranges::all_of(part, [](std::byte b) { return b == std::byte{0}; })) << at;
    }
  }
  /// All of the new clusters have a place, which is the file's and no one else's.
  void expect_stored() {
    const std::uint64_t first = align_up(GetParam().old_size, GetParam().cluster_size);
    const std::uint64_t size = layer_->virtual_size();
    for (std::uint64_t at = first; at < size;) {
      const LayerExtent extent = layer_->map({at}, size - at);
      ASSERT_EQ(extent.kind, ExtentKind::data) << at;
      ASSERT_LE(extent.host_offset.value + extent.length_bytes, extent.storage->size()) << at;
      at += extent.length_bytes;
    }
  }
  void expect_sound() {
    const CheckReport report = layer_->check({});
    EXPECT_EQ(report.corruptions, 0u);
    EXPECT_EQ(report.leaks, 0u);
    EXPECT_EQ(report.check_errors, 0u);
  }

  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  const std::shared_ptr<MemoryStorage> image_ = std::make_shared<MemoryStorage>("disk");
  const std::shared_ptr<MemoryStorage> data_file_ = std::make_shared<MemoryStorage>("data");
  std::unique_ptr<qcow2::Qcow2Layer> layer_;
  std::vector<std::byte> content_;
};

TEST_P(Preallocated, NewClustersAreStoredAndReadAsZeroes) {
  grow(Preallocation::metadata);
  expect_content();
  expect_stored();
  open();
  expect_content();
  expect_stored();
  expect_sound();
}

TEST_P(Preallocated, NewClustersAreWrittenInPlace) {
  grow(Preallocation::metadata);
  const std::uint64_t cluster = GetParam().cluster_size;
  const std::uint64_t size = layer_->virtual_size();
  const std::uint64_t first = align_up(GetParam().old_size, cluster);
  if (first >= size) return;  // no cluster is new
  const HostOffset before = layer_->map({first}, 1).host_offset;
  layer_->write({size - 1}, test::make_content(5, 1));
  layer_->write({first}, test::make_content(5, 1));
  EXPECT_EQ(layer_->map({first}, 1).host_offset, before);
  open();
  expect_stored();
  expect_sound();
}

TEST_P(Preallocated, FreedClustersThatAreUsedAgainReadAsZeroes) {
  if (GetParam().old_size == 0 || GetParam().data_file) return;  // nothing to free
  layer_->discard({0}, GetParam().old_size);
  layer_->flush();
  layer_->read({0}, content_);
  grow(Preallocation::metadata);
  expect_content();
  expect_stored();
  open();
  expect_content();
  expect_sound();
}

TEST_P(Preallocated, SnapshotsKeepTheirContent) {
  if (GetParam().version == 2 || GetParam().data_file) return;  // cannot be made or resized
  if (GetParam().refcount_bits == 1) return;                    // nothing can be shared
  Image::NewSnapshot snapshot;
  snapshot.name = "before";
  layer_->create_snapshot(snapshot);
  grow(Preallocation::metadata);
  if (!content_.empty()) layer_->write({0}, test::make_content(6, content_.size()));
  SnapshotSelector before;
  before.name = "before";
  layer_->apply_snapshot(before);
  expect_content();
  EXPECT_EQ(layer_->virtual_size(), GetParam().old_size);
  open();
  expect_content();
  expect_sound();
}

TEST_P(Preallocated, WhatFailsLeavesTheDiskAsItWas) {
  if (GetParam().new_size > (8u << 20)) return;  // too much to do again and again
  for (std::uint64_t at = 1;; at += 1 + at / 8) {
    plan_->arm({.operations = test::kChanges, .at = at, .errno_value = ENOSPC});
    std::optional<Error> failure;
    try {
      grow(Preallocation::metadata);
    } catch (const Error& error) {
      failure = error;
    }
    plan_->disarm();
    if (!failure) break;
    EXPECT_EQ(layer_->virtual_size(), GetParam().old_size) << at;
    expect_content();
    const CheckReport report = layer_->check({});
    ASSERT_EQ(report.corruptions, 0u) << at;
  }
  expect_content();
  expect_stored();
}

INSTANTIATE_TEST_SUITE_P(Sizes, Preallocated, testing::ValuesIn(kCases),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace qcowkit
