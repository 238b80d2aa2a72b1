// How often every host cluster is referenced, as a check finds it: a byte for each cluster.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace qcowkit::qcow2 {

/// What the COPIED flags of the references to a cluster say; a set of bits.
namespace claim {
inline constexpr std::uint8_t kNone = 0;
inline constexpr std::uint8_t kCopied = 1;  ///< one says: the refcount is one
inline constexpr std::uint8_t kShared = 2;  ///< one says: the refcount is not one
}  // namespace claim

/// Zeroed memory of which only touched pages take room.
class SparseMemory {
 public:
  SparseMemory() = default;
  /// Throws `Error` (limit_exceeded) if the system refuses.
  explicit SparseMemory(std::uint64_t size_bytes);
  ~SparseMemory();
  SparseMemory(SparseMemory&& other) noexcept;
  SparseMemory& operator=(SparseMemory&& other) noexcept;

  std::uint8_t* data() noexcept { return data_; }
  const std::uint8_t* data() const noexcept { return data_; }

 private:
  std::uint8_t* data_ = nullptr;
  std::uint64_t size_ = 0;
};

/// A count and a set of claims for each cluster of a file.
///
/// A cell is a byte: six bits of count, two of claims. Counts that do not fit are kept aside; once
/// there are many of them all cells are widened, to 14 and then to 30 bits of count. Memory is
/// taken where something is counted. Not thread-safe.
class ReferenceCounts {
 public:
  /// Larger files cannot be checked.
  static constexpr std::uint64_t kClustersMax = std::uint64_t{1} << 34;

  /// `typical_count_max` is a guess that chooses the first width. Throws `Error` (limit_exceeded).
  ReferenceCounts(std::uint64_t clusters, std::uint64_t typical_count_max);

  std::uint64_t clusters() const noexcept { return clusters_; }

  /// Counts `weight` references to each of `n` clusters, all of which are below `clusters()`.
  void add(std::uint64_t first, std::uint64_t n, std::uint64_t weight, std::uint8_t claims);
  /// Takes one reference to each of `n` clusters back.
  void remove(std::uint64_t first, std::uint64_t n);

  std::uint64_t count(std::uint64_t cluster) const noexcept;
  std::uint8_t claims(std::uint64_t cluster) const noexcept {
    return static_cast<std::uint8_t>(cell(cluster) >> count_bits());
  }
  /// Replaces the claims on a cluster: from then on they mean what the caller wants.
  void set_claims(std::uint64_t cluster, std::uint8_t claims) noexcept;

  /// False if no cluster of the range is referenced; true if one may be. Fast.
  bool may_have(std::uint64_t first, std::uint64_t n) const noexcept;

  /// The cells themselves while they are bytes (`claims << 6 | count`, where a count of
  /// `kNarrowSpill` is kept aside), else null.
  const std::uint8_t* narrow_cells() const noexcept {
    return width_ == 1 ? cells_.data() : nullptr;
  }
  static constexpr std::uint8_t kNarrowSpill = 63;
  static constexpr std::uint32_t kNarrowCountBits = 6;

 private:
  static constexpr std::uint32_t kChunkBits = 16;  // clusters that share a mark in `touched_`
  static constexpr std::size_t kSpilledMax = 4096;

  std::uint32_t count_bits() const noexcept { return width_ * 8 - 2; }
  std::uint32_t spill_mark() const noexcept { return (1u << count_bits()) - 1; }
  std::uint32_t cell(std::uint64_t cluster) const noexcept;
  void set_cell(std::uint64_t cluster, std::uint32_t value) noexcept;
  void add_narrow(std::uint64_t first, std::uint64_t n, std::uint64_t weight, std::uint8_t claims);
  void add_one(std::uint64_t cluster, std::uint64_t weight, std::uint8_t claims);
  void widen();

  std::uint64_t clusters_;
  std::uint32_t width_;  // bytes of a cell: 1, 2 or 4
  SparseMemory cells_;
  std::vector<bool> touched_;
  std::unordered_map<std::uint64_t, std::uint64_t> spilled_;
};

}  // namespace qcowkit::qcow2
