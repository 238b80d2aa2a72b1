// A small sound image in memory, to be bent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"

namespace qcowkit::test {

/// A qcow2 image of 4 MiB in clusters of 4 KiB, which takes two L2 tables. Both have, from their
/// start on, four plain clusters, two compressed ones, one that is zero and has a host cluster, and
/// one that is zero and has none.
class SmallImage {
 public:
  static constexpr std::uint64_t kClusterSize = 4096;
  static constexpr std::uint64_t kSize = 4 << 20;
  static constexpr std::uint64_t kTableCovers = kClusterSize / 8 * kClusterSize;
  static constexpr std::uint64_t kCompressedCluster = 4;
  static constexpr std::uint64_t kZeroCluster = 6;

  explicit SmallImage(const std::string& name = "small.qcow2");
  /// `options` without size and references; what has no meaning with them is left out.
  explicit SmallImage(CreateOptions options, const std::string& name = "small.qcow2");

  /// The image's bytes, which every image opened shares.
  MemoryStorage& storage() noexcept { return *storage_; }
  std::unique_ptr<Image> open(OpenOptions options = {}) const;
  std::unique_ptr<Image> open_for_writing() const;
  const std::vector<std::byte>& content() const noexcept { return content_; }

  // Fields of the file, in host byte order.
  std::uint64_t field(std::uint64_t host_offset) const;
  void set_field(std::uint64_t host_offset, std::uint64_t value);
  void set_field32(std::uint64_t host_offset, std::uint32_t value);

  // Where the structures are.
  std::uint64_t l1_table() const { return field(40); }
  std::uint64_t refcount_table() const { return field(48); }
  std::uint64_t refcount_block() const { return field(refcount_table()); }
  std::uint64_t l2_table(std::uint64_t index = 0) const {
    return offset_in(l1_table() + 8 * index);
  }
  std::uint64_t l2_entry(std::uint64_t guest_cluster) const {
    return l2_table() + 8 * guest_cluster;
  }
  /// The host cluster that an L1 or L2 entry points at.
  std::uint64_t offset_in(std::uint64_t entry) const { return field(entry) & 0x00fffffffffffe00; }

 private:
  void fill();

  std::shared_ptr<MemoryStorage> storage_;
  std::vector<std::byte> content_;
};

/// Reads all, as a guest and as a copier; whatever is wrong with the image may only throw `Error`.
void read_everything(Image& image);

}  // namespace qcowkit::test
