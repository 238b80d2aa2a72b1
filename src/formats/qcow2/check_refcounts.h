// The refcount structures in a check: are they sound, and do they say what is true?
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "formats/qcow2/check_references.h"

namespace qcowkit::qcow2 {

inline constexpr CheckStage kCompareStage{0.7, 1.0};

/// How far an entry of the refcount table can be used.
enum class BlockState : std::uint8_t {
  absent,      ///< no block: all its refcounts are 0
  present,     ///< its bytes tell refcounts
  outside,     ///< behind the file's end: it reads as zeroes
  unreadable,  ///< at a place where no block can be
};

/// One refcount block in a pass over all of them.
struct RefcountBlockView {
  std::uint64_t index;     ///< in the refcount table
  std::uint64_t first;     ///< the first cluster it is about
  std::uint64_t clusters;  ///< how many of its clusters are of interest
  BlockState state;
  std::span<std::byte> bytes;  ///< empty unless `present`
};

/// An image's refcounts, as they are on disk.
class RefcountStructure {
 public:
  explicit RefcountStructure(CheckContext& context);

  /// Counts the references to the table and its blocks, and reports what is wrong with them.
  void collect(References& references);
  /// Takes back what `collect` counted; `recount` counts it again.
  void forget(References& references);
  void recount(References& references);

  /// Something about the table or the blocks is so wrong that only new ones help.
  bool is_damaged() const noexcept { return is_damaged_; }
  /// A block is absent that has to be there.
  bool lacks_blocks() const noexcept { return lacks_blocks_; }

  /// How many clusters, from the first on, are compared: the file's, and the one behind its end if
  /// something refers to it.
  static std::uint64_t compared_clusters(const References& references) noexcept {
    const std::uint64_t last = references.counts.clusters() - 1;
    return references.counts.count(last) != 0 ? last + 1 : last;
  }
  /// Compares all refcounts with `references` and reports the differences.
  void compare(References& references);

  /// Calls `visit` for each refcount block about clusters below `end` in turn, but for absent ones
  /// about clusters that nothing refers to.
  using Visit = std::function<void(const RefcountBlockView& block)>;
  void for_each_block(const References& references, std::uint64_t end, const Visit& visit);

  /// How many clusters of a block from its `from`th on agree with what refers to them. Quick but
  /// not exact: there may be more of them. Notes which are in use.
  std::uint64_t agreeing(References& references, const RefcountBlockView& block,
                         std::uint64_t from) const noexcept;

  /// One refcount; 0 where none can be read.
  std::uint64_t lookup(std::uint64_t cluster);
  /// Sets the refcounts of `n` clusters. False, with nothing done, where a block is missing.
  bool set(std::uint64_t first, std::uint64_t n, std::uint64_t value);
  HostOffset block_offset(std::uint64_t index) const noexcept;

 private:
  BlockState state(std::uint64_t entry) const noexcept;
  void check_entry(References& references, std::uint64_t index);
  void compare_block(References& references, const RefcountBlockView& block);
  void compare_one(References& references, std::uint64_t cluster, std::uint64_t refcount);

  CheckContext& context_;
  std::vector<std::uint64_t> table_;           // raw entries
  bool table_counted_ = false;                 // `collect` has counted the table's clusters
  std::vector<std::uint64_t> counted_blocks_;  // first clusters of the blocks that it has counted
  bool is_damaged_ = false;
  bool lacks_blocks_ = false;

  std::uint64_t slice_offset_ = ~std::uint64_t{0};  // what `lookup` has read last
  std::vector<std::byte> slice_;
};

}  // namespace qcowkit::qcow2
