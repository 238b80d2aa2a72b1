// New refcount structures, where the old ones are past mending.
#include <algorithm>
#include <vector>

#include "formats/qcow2/check_repair.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

/// New refcount structures: first the blocks, then the table, all in one row of clusters.
class Rebuild {
 public:
  explicit Rebuild(References& references)
      : references_(references), context_(references.context), g_(references.context.geometry) {}

  RebuildOutcome plan();
  void write();

 private:
  static constexpr std::size_t kWriteBytesMax = 1u << 20;

  std::uint64_t earliest_place() const noexcept;
  std::uint64_t refcount(std::uint64_t cluster) const noexcept;
  bool is_block_needed(std::uint64_t index) const noexcept;
  void lay_out();
  void fill_block(std::uint64_t index, std::byte* block);
  void write_blocks();
  void write_table();

  References& references_;
  CheckContext& context_;
  const Geometry g_;
  std::vector<std::uint64_t> used_blocks_;  // indices in the table: needed whatever the place
  std::vector<std::uint64_t> blocks_;       // and those about the new structures, ascending
  std::uint64_t start_ = 0;                 // the first cluster of the new structures
  std::uint64_t table_clusters_ = 0;
};

/// Where both the refcounts and the references see free clusters only.
std::uint64_t Rebuild::earliest_place() const noexcept {
  const Findings& findings = references_.findings;
  const bool knows_all_refcounts = findings.refcount_check_errors == 0;
  const std::uint64_t behind_all = findings.highest_cluster + 1;
  if (knows_all_refcounts || !context_.storage.can_grow()) return behind_all;
  return std::max(behind_all, context_.file_clusters);
}

/// What the new structures will say of a cluster that is not their own.
std::uint64_t Rebuild::refcount(std::uint64_t cluster) const noexcept {
  if (cluster >= references_.counts.clusters()) return 0;
  return std::min(references_.counts.count(cluster), g_.refcount_max());
}

bool Rebuild::is_block_needed(std::uint64_t index) const noexcept {
  const std::uint64_t first = index << g_.refcount_block_bits();
  const std::uint64_t n = g_.refcount_block_entries();
  if (!references_.counts.may_have(first, n)) return false;
  for (std::uint64_t i = 0; i < n; ++i) {
    if (refcount(first + i) != 0) return true;
  }
  return false;
}

/// The blocks and the table have to tell of themselves, which may take more of them.
void Rebuild::lay_out() {
  std::uint64_t total = 0;
  for (;;) {
    const std::uint64_t end = start_ + total;
    blocks_ = used_blocks_;
    for (std::uint64_t i = start_ >> g_.refcount_block_bits(); i << g_.refcount_block_bits() < end;
         ++i) {
      blocks_.push_back(i);
    }
    std::sort(blocks_.begin(), blocks_.end());
    blocks_.erase(std::unique(blocks_.begin(), blocks_.end()), blocks_.end());
    const std::uint64_t entries = blocks_.empty() ? 1 : blocks_.back() + 1;
    table_clusters_ = g_.clusters_for(entries * 8);
    const std::uint64_t needed = blocks_.size() + table_clusters_;
    if (needed == total) return;
    total = needed;
  }
}

RebuildOutcome Rebuild::plan() {
  const std::uint64_t blocks_end =
      divide_round_up(references_.counts.clusters(), g_.refcount_block_entries());
  for (std::uint64_t index = 0; index < blocks_end; ++index) {
    if (is_block_needed(index)) used_blocks_.push_back(index);
  }
  start_ = earliest_place();
  lay_out();
  const std::uint64_t total = blocks_.size() + table_clusters_;
  if (table_clusters_ * g_.cluster_size() > kRefcountTableBytesMax) {
    context_.note("ERROR cannot rebuild refcount structures: the table would have {} bytes",
                  table_clusters_ * g_.cluster_size());
    return {};
  }
  const std::uint64_t gap = references_.dangling.gap(start_, total);
  if (gap != start_) {
    context_.note(
        "ERROR cannot rebuild refcount structures: L1 or L2 entries point to where they "
        "would be, behind the file's end");
    return {false, gap == DanglingClusters::kNowhere ? 0 : gap};
  }
  if (!context_.storage.can_grow() && (start_ + total) * g_.cluster_size() > context_.file_bytes) {
    context_.note("ERROR cannot rebuild refcount structures: no {} free clusters at the end",
                  total);
    return {};
  }
  return {true, 0};
}

void Rebuild::fill_block(std::uint64_t index, std::byte* block) {
  const std::uint64_t first = index << g_.refcount_block_bits();
  const std::uint64_t end = start_ + blocks_.size() + table_clusters_;
  std::fill(block, block + g_.cluster_size(), std::byte{0});
  for (std::uint64_t i = 0; i < g_.refcount_block_entries(); ++i) {
    const std::uint64_t cluster = first + i;
    const std::uint64_t value = cluster >= start_ && cluster < end ? 1 : refcount(cluster);
    if (value != 0) store_refcount(block, i, g_.refcount_order(), value);
  }
}

void Rebuild::write_blocks() {
  const std::uint64_t cluster_size = g_.cluster_size();
  const std::uint64_t batch_max = std::max<std::uint64_t>(kWriteBytesMax / cluster_size, 1);
  std::vector<std::byte> batch(std::min<std::uint64_t>(batch_max, blocks_.size()) * cluster_size);
  for (std::uint64_t begin = 0; begin < blocks_.size(); begin += batch_max) {
    const std::uint64_t n = std::min<std::uint64_t>(batch_max, blocks_.size() - begin);
    for (std::uint64_t i = 0; i < n; ++i) {
      fill_block(blocks_[begin + i], batch.data() + i * cluster_size);
    }
    context_.storage.write((start_ + begin) * cluster_size,
                           std::span(batch).first(n * cluster_size));
  }
}

void Rebuild::write_table() {
  std::vector<std::byte> table(table_clusters_ * g_.cluster_size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    store_big_endian(table.data() + blocks_[i] * 8, (start_ + i) * g_.cluster_size());
  }
  context_.storage.write((start_ + blocks_.size()) * g_.cluster_size(), table);
}

void Rebuild::write() {
  write_blocks();
  write_table();
  context_.storage.flush();
  write_refcount_table_fields(context_, {(start_ + blocks_.size()) * g_.cluster_size()},
                              static_cast<std::uint32_t>(table_clusters_));
}

}  // namespace

RebuildOutcome rebuild_refcounts(References& references, RefcountStructure& refcounts) {
  references.context.note("Rebuilding refcount structure");
  refcounts.forget(references);
  Rebuild rebuild(references);
  const RebuildOutcome outcome = rebuild.plan();
  if (outcome.done) {
    rebuild.write();
    references.claims_wrong = true;  // they were compared with the old refcounts
  } else {
    refcounts.recount(references);
  }
  return outcome;
}

}  // namespace qcowkit::qcow2
