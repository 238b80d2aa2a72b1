// Small images laid out by hand, so that a test knows and can bend every byte of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "formats/qcow2/geometry.h"
#include "formats/qcow2/header.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2::test {

struct ImageShape {
  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 9;
  std::uint32_t refcount_order = 4;
  bool extended_l2 = false;  ///< wants `cluster_bits` of 14 at least
  bool data_file = false;
};

/// An image in memory. First it is built, by the calls up to `finish`; from then on `bytes` is the
/// file, and the calls behind it read and bend it.
///
/// In order: the header, the refcount table, two refcount blocks, the L1 table, the rest as it
/// comes.
class SmallImage {
 public:
  explicit SmallImage(const ImageShape& shape);

  // Building. Guest clusters are counted in clusters.
  void map(std::uint64_t guest_cluster);             ///< data
  void map_zero(std::uint64_t guest_cluster);        ///< zeroes over a host cluster
  void map_plain_zero(std::uint64_t guest_cluster);  ///< zeroes without one
  void map_compressed(std::uint64_t guest_cluster);  ///< a stream of a third of a cluster
  void take_snapshot();
  void add_bitmap();
  void add_encryption_header();
  std::uint64_t append(std::uint64_t clusters = 1);  ///< the first of them; their refcounts are 1
  /// Gives the COPIED flags their values and writes all that is not written yet.
  SmallImage& finish();

  std::vector<std::byte> bytes;

  // Places, as host offsets in bytes.
  std::uint64_t l1_entry(std::uint64_t index) const { return l1_offset + index * 8; }
  std::uint64_t l2_table(std::uint64_t l1_index) const;
  std::uint64_t l2_entry(std::uint64_t guest_cluster) const;
  std::uint64_t refcount_block(std::uint64_t index) const;
  std::uint64_t end() const { return bytes.size(); }
  /// The host cluster of a guest cluster, by its offset.
  std::uint64_t data(std::uint64_t guest_cluster) const;

  std::uint64_t get64(std::uint64_t offset) const;
  void set64(std::uint64_t offset, std::uint64_t value);
  void set32(std::uint64_t offset, std::uint32_t value);
  void flip(std::uint64_t offset, std::uint64_t mask) { set64(offset, get64(offset) ^ mask); }
  std::uint64_t refcount(std::uint64_t cluster) const;
  void set_refcount(std::uint64_t cluster, std::uint64_t value);
  std::uint64_t cluster_of(std::uint64_t offset) const { return offset >> g.cluster_bits(); }
  /// Makes the file longer by clusters of zeroes that nothing knows of.
  void lengthen(std::uint64_t clusters) {
    bytes.resize(bytes.size() + clusters * g.cluster_size());
  }

  std::unique_ptr<Storage> storage() const;
  /// Writes the bytes to a file.
  void save(const std::string& path) const;

  const ImageShape shape;
  const Geometry g;
  std::uint64_t l1_offset = 0;
  std::uint64_t refcount_table_offset = 0;
  std::uint64_t snapshots_offset = 0;
  std::vector<std::uint64_t> snapshot_l1_offsets;
  std::uint64_t bitmap_directory_offset = 0;
  std::uint64_t bitmap_table_offset = 0;
  std::uint64_t encryption_offset = 0;
  std::set<std::uint64_t> data_clusters;  ///< those with guest data
  static constexpr std::uint64_t kL1Entries = 8;

 private:
  std::uint64_t own_l2_table(std::uint64_t l1_index);
  void put_entry(std::uint64_t guest_cluster, std::uint64_t descriptor, std::uint64_t bitmap);
  void release(std::uint64_t guest_cluster);
  void write_refcounts();
  void write_header();
  void write_snapshot_table();
  void set_copied_flags();
  void fill(std::uint64_t offset, std::uint64_t content);

  std::vector<std::uint64_t> refcounts_;
  std::uint64_t compressed_end_ = 0;  // where the next compressed stream goes
};

/// The image's header, as a check wants it.
Header read_header(Storage& storage);

/// Runs a check on the storage.
CheckReport check(Storage& storage, Repair repair = Repair::none);

/// What the guest can read, as far as the image tells: for each guest cluster its kind, its host
/// offset, and the bytes that are there, if these are in the data clusters of `built` (a damaged
/// image may show the guest metadata, which repair changes).
std::vector<std::string> guest_view(Storage& storage, const SmallImage& built);

}  // namespace qcowkit::qcow2::test
