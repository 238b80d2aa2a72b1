// A disk with bitmaps, and what its file says of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/qcow2/bitmap_data.h"
#include "tests/formats/qcow2/layer_fixture.h"

namespace qcowkit::test {

class BitmapsTest : public LayerTest {
 protected:
  using BitmapEntry = qcow2::BitmapEntry;
  using BitmapTableEntry = qcow2::BitmapTableEntry;
  using Header = qcow2::Header;

  static constexpr std::uint64_t kGranule = 4096;
  static constexpr std::uint64_t kDisk = 4 << 20;

  BitmapsTest() = default;
  explicit BitmapsTest(const EngineOptions& options) : LayerTest(options) {}

  /// The layer goes as if its process had been killed.
  void kill() {
    layer_.reset();
    open();
  }
  Header header() const { return qcow2::Qcow2Layer::read_header(*image_); }
  /// What the disk says.
  std::vector<BitmapEntry> directory() const {
    return qcow2::read_bitmap_directory(*image_, header());
  }
  std::vector<BitmapTableEntry> table(std::size_t index = 0) const {
    return qcow2::read_bitmap_table(*image_, directory().at(index), header().geometry());
  }
  void set_directory(const std::vector<BitmapEntry>& entries) {
    layer_->close();
    const auto bytes = qcow2::encode_bitmap_directory(entries);
    Header changed = header();
    image_->write(changed.bitmaps->bitmap_directory_offset.value, bytes);
    changed.bitmaps->bitmap_directory_size = bytes.size();
    image_->write(0, changed.encode());
    open();
  }
  /// Makes a table entry whatever is wanted.
  void set_table_entry(std::size_t index, BitmapTableEntry entry, std::size_t bitmap = 0) {
    layer_->close();
    const be64 raw = entry.raw();
    image_->write(directory().at(bitmap).table_offset.value + index * 8,
                  std::as_bytes(std::span(&raw, 1)));
    open();
  }
  void add(const std::string& name, bool enabled = true, std::uint64_t granularity = kGranule) {
    layer_->add_bitmap({.name = name, .granularity_bytes = granularity, .enabled = enabled});
  }
  /// First byte and length of the first dirty run, {0, 0} if there is none.
  std::pair<std::uint64_t, std::uint64_t> dirty(const std::string& name) {
    for (std::uint64_t at = 0; at < layer_->virtual_size();) {
      const BitmapExtent extent = layer_->map_bitmap(name, {at}, layer_->virtual_size() - at);
      if (extent.is_dirty) return {at, extent.length_bytes};
      at += extent.length_bytes;
    }
    return {0, 0};
  }
  using Run = std::pair<std::uint64_t, std::uint64_t>;
  static constexpr Run kNothing{0, 0};
};

/// Clusters of 512 bytes, each of which holds the bits of 2 MiB.
class SmallClusterBitmapsTest : public BitmapsTest {
 protected:
  SmallClusterBitmapsTest() : BitmapsTest({.cluster_size = 512, .size = (9 << 20) + 512}) {}
};

}  // namespace qcowkit::test
