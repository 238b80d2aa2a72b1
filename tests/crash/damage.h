// Damage to the refcounts of an image, for check to repair.
#pragma once

#include <cstdint>

#include "tests/crash/image_files.h"

namespace qcowkit::test {

/// Writes to the bytes of an image that nobody has open. Clusters are host clusters.
class Damage {
 public:
  explicit Damage(const ImageFiles& files);

  std::uint64_t refcount_of(std::uint64_t cluster);
  void set_refcount(std::uint64_t cluster, std::uint64_t refcount);
  /// Counts up to `count` clusters that nothing uses.
  void leak(std::uint64_t count);
  /// Sets the refcount of every `every`th used cluster behind the first four to 0.
  void forget(std::uint64_t every);
  /// Takes the COPIED flag out of the L1 table's entries.
  void clear_copied_flags();
  /// Makes the refcount table forget its first block.
  void lose_refcount_block();
  /// Sets the dirty bit.
  void mark_dirty();

 private:
  std::uint64_t host_clusters() const;
  std::uint64_t block_offset(std::uint64_t cluster);

  MemoryStorage& image_;
  const qcow2::Header header_;
  const qcow2::Geometry geometry_;
};

}  // namespace qcowkit::test
