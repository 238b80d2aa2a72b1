// A layer over a new image in memory, whose requests can be counted and made to fail.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/content.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {

class LayerTest : public testing::Test {
 protected:
  explicit LayerTest(const EngineOptions& options = {})
      : cluster_(options.cluster_size), image_(make_engine_image(options)) {
    open();
  }

  /// Closes the layer, if it is open, and opens it again.
  void open() {
    if (layer_) layer_->close();
    auto storage = std::make_unique<FaultStorage>(image_, plan_);
    qcow2::LayerOptions layer_options;
    layer_options.read_only = false;
    qcow2::Header header = qcow2::Qcow2Layer::read_header(*image_);
    layer_ = std::make_unique<qcow2::Qcow2Layer>(std::move(storage), nullptr, std::move(header),
                                                 layer_options);
  }
  std::vector<std::byte> read(std::uint64_t guest_offset, std::uint64_t length) {
    std::vector<std::byte> bytes(length, std::byte{0xee});
    layer_->read({guest_offset}, bytes);
    return bytes;
  }
  void write(std::uint64_t guest_offset, std::uint64_t content, std::uint64_t length) {
    layer_->write({guest_offset}, make_content(content, length));
  }
  void write_compressed(std::uint64_t guest_offset, std::uint64_t content) {
    const auto bytes = make_content(content, cluster_);
    layer_->write_compressed({guest_offset}, layer_->compress(bytes, 0), bytes);
  }
  /// Makes a cluster, which is not compressed, one that a snapshot has as well.
  void share(std::uint64_t guest_offset) {
    const HostOffset host = host_of(guest_offset);
    layer_->close();
    const qcow2::Header header = qcow2::Qcow2Layer::read_header(*image_);
    const qcow2::Geometry g = header.geometry();
    const std::uint64_t table =
        field_of(*image_, header.l1_table_offset.value + g.l1_index({guest_offset}) * 8) &
        qcow2::L1Entry::kOffsetMask;
    const std::uint64_t entry = table + (g.l2_index({guest_offset}) << g.l2_entry_bits());
    const be64 descriptor = field_of(*image_, entry) & ~qcow2::RawL2Entry::kCopied;
    image_->write(entry, std::as_bytes(std::span(&descriptor, 1)));
    const be16 two = 2;
    const std::uint64_t block = field_of(*image_, header.refcount_table_offset.value);
    image_->write(block + host.value / cluster_ * 2, std::as_bytes(std::span(&two, 1)));
    layer_.reset();
    open();
  }
  ExtentKind kind_at(std::uint64_t guest_offset) { return layer_->map({guest_offset}, 1).kind; }
  HostOffset host_of(std::uint64_t guest_offset) {
    return layer_->map({guest_offset}, 1).host_offset;
  }
  /// Everything is counted right, and what is not used is free.
  void expect_clean() {
    const CheckReport report = layer_->check({});
    EXPECT_EQ(report.corruptions, 0u);
    EXPECT_EQ(report.leaks, 0u);
  }
  static std::vector<std::byte> zeroes(std::uint64_t length) {
    return std::vector<std::byte>(length);
  }

  const std::uint64_t cluster_;
  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  const std::shared_ptr<MemoryStorage> image_;
  std::unique_ptr<qcow2::Qcow2Layer> layer_;
};

}  // namespace qcowkit::test
