// Host ranges that hold metadata: nothing else is to be written there.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/offsets.h"
#include "formats/qcow2/header.h"
#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// A set of host clusters, found by ranges.
class ClusterSet {
 public:
  void insert(std::uint64_t cluster) {
    chunks_[cluster / kChunk][word_of(cluster)] |= bit_of(cluster);
  }
  void erase(std::uint64_t cluster) noexcept;
  void clear() noexcept { chunks_.clear(); }
  /// True if a cluster from `first` to before `end` is in the set.
  bool touches(std::uint64_t first, std::uint64_t end) const noexcept;

 private:
  static constexpr std::uint64_t kChunk = 512;
  using Chunk = std::array<std::uint64_t, kChunk / 64>;
  static std::size_t word_of(std::uint64_t cluster) noexcept { return cluster % kChunk / 64; }
  static std::uint64_t bit_of(std::uint64_t cluster) noexcept {
    return std::uint64_t{1} << (cluster % 64);
  }
  static bool any_bit(const Chunk& chunk, std::uint64_t first, std::uint64_t end) noexcept;

  std::unordered_map<std::uint64_t, Chunk> chunks_;
};

/// Knows where the metadata of an image in use lies, as far as `checks` (see `overlap`) asks for
/// it. A damaged or hostile image may map guest clusters there, or call such a cluster free.
/// Thread-safe.
class OverlapGuard {
 public:
  explicit OverlapGuard(std::uint32_t checks) : checks_(checks | overlap::kMainHeader) {}

  struct Place {
    std::uint32_t kind = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  struct Places {
    std::uint32_t cluster_bits = 16;
    std::vector<Place> ranges;
    ClusterSet inactive_l2_tables;
  };
  /// The places that the header tells; reads the snapshot table, and what it leads to, where
  /// `checks` ask for that. Throws `Error` (corrupt), I/O errors.
  Places read_places(Storage& storage, const Header& header) const;
  /// Replaces those known so far.
  void set_places(Places places) noexcept;
  void load(Storage& storage, const Header& header) { set_places(read_places(storage, header)); }
  void set_refcount_table(HostOffset host_offset, std::uint64_t bytes);
  void set_l2_tables(std::span<const std::uint64_t> l1_table);
  void replace_l2_table(const HostOffset* old_table, HostOffset new_table);
  void set_refcount_blocks(std::span<const std::uint64_t> refcount_table);
  void add_refcount_block(HostOffset block);

  /// What the host range touches, null if nothing. Kinds in `except` are not looked for.
  const char* hit(HostOffset host_offset, std::uint64_t bytes, std::uint32_t except = 0) const;

 private:
  bool checks_for(std::uint32_t kind) const noexcept { return (checks_ & kind) != 0; }
  void add_place(Places& to, std::uint32_t kind, HostOffset host_offset, std::uint64_t bytes) const;
  void add_snapshots(Places& to, Storage& storage, const Header& header) const;

  const std::uint32_t checks_;

  mutable SharedMutex mutex_;
  Places places_ GUARDED_BY(mutex_);
  ClusterSet l2_tables_ GUARDED_BY(mutex_);
  ClusterSet refcount_blocks_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::qcow2
