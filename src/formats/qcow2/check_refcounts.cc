#include "formats/qcow2/check_refcounts.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kReservedMask = 0x1ff;  // qcow2 spec, Refcount table entry
constexpr std::size_t kLookupSliceBytes = 4096;

/// True if a cluster's refcount is what its cell (of `narrow_cells`) counts and claims.
constexpr bool agrees(std::uint8_t cell, std::uint64_t refcount) noexcept {
  const auto claims = static_cast<std::uint8_t>(cell >> ReferenceCounts::kNarrowCountBits);
  const auto count = static_cast<std::uint8_t>(cell & ReferenceCounts::kNarrowSpill);
  const std::uint8_t wrong_claim = refcount == 1 ? claim::kShared : claim::kCopied;
  return count != ReferenceCounts::kNarrowSpill && count == refcount && (claims & wrong_claim) == 0;
}

}  // namespace

RefcountStructure::RefcountStructure(CheckContext& context) : context_(context) {
  const Header& header = context.header;
  const std::uint64_t bytes = std::uint64_t{header.refcount_table_clusters}
                              << context.geometry.cluster_bits();
  table_.resize(bytes / 8);
  if (table_.empty()) return;
  context.storage.read(header.refcount_table_offset.value,
                       std::as_writable_bytes(std::span(table_)));
  for (std::uint64_t& entry : table_) entry = big_endian(entry);
}

HostOffset RefcountStructure::block_offset(std::uint64_t index) const noexcept {
  return {table_[index] & ~kReservedMask};
}

BlockState RefcountStructure::state(std::uint64_t entry) const noexcept {
  const std::uint64_t host_offset = entry & ~kReservedMask;
  const std::uint64_t cluster_size = context_.geometry.cluster_size();
  if (host_offset == 0) return BlockState::absent;
  if (context_.geometry.in_cluster(host_offset) != 0 ||
      host_offset >= (std::uint64_t{1} << 63) - cluster_size) {
    return BlockState::unreadable;
  }
  return host_offset >> context_.geometry.cluster_bits() >= context_.file_clusters
             ? BlockState::outside
             : BlockState::present;
}

void RefcountStructure::collect(References& references) {
  const Header& header = context_.header;
  const std::uint64_t before = references.findings.corruptions;
  table_counted_ =
      references.add_region(header.refcount_table_offset.value, table_.size() * 8, 1, claim::kNone);
  if (!table_counted_ || table_.empty()) is_damaged_ = true;
  for (std::uint64_t index = 0; index < table_.size(); ++index) {
    if (table_[index] != 0) check_entry(references, index);
  }
  references.findings.refcount_corruptions += references.findings.corruptions - before;
}

void RefcountStructure::check_entry(References& references, std::uint64_t index) {
  const std::uint64_t entry = table_[index];
  const Geometry& g = context_.geometry;
  const std::uint64_t host_offset = entry & ~kReservedMask;
  const std::uint64_t cluster = host_offset >> g.cluster_bits();
  const bool was_damaged = is_damaged_;
  is_damaged_ = true;
  if ((entry & kReservedMask) != 0) {
    references.corruption(1, "ERROR refcount table entry {} has reserved bits set", index);
  } else if (g.in_cluster(host_offset) != 0) {
    references.corruption(
        1, "ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", index);
  } else if (cluster >= context_.file_clusters) {
    references.corruption(1, "ERROR refcount block {} is outside image", index);
  } else {
    references.add_region(host_offset, g.cluster_size(), 1, claim::kNone);
    counted_blocks_.push_back(cluster);
    const std::uint64_t count = references.counts.count(cluster);
    if (count != 1) {
      references.corruption(1, "ERROR refcount block {} refcount={}", index, count);
    } else {
      is_damaged_ = was_damaged;
    }
  }
}

void RefcountStructure::forget(References& references) {
  const Geometry& g = context_.geometry;
  if (table_counted_ && !table_.empty()) {
    references.counts.remove(context_.header.refcount_table_offset.value >> g.cluster_bits(),
                             context_.header.refcount_table_clusters);
  }
  for (const std::uint64_t cluster : counted_blocks_) references.counts.remove(cluster, 1);
}

void RefcountStructure::recount(References& references) {
  const Geometry& g = context_.geometry;
  if (table_counted_ && !table_.empty()) {
    references.counts.add(context_.header.refcount_table_offset.value >> g.cluster_bits(),
                          context_.header.refcount_table_clusters, 1, claim::kNone);
  }
  for (const std::uint64_t cluster : counted_blocks_) {
    references.counts.add(cluster, 1, 1, claim::kNone);
  }
}

void RefcountStructure::for_each_block(const References& references, std::uint64_t end,
                                       const Visit& visit) {
  const Geometry& g = context_.geometry;
  const std::uint64_t per_block = g.refcount_block_entries();
  Buffer buffer(g.cluster_size());
  for (std::uint64_t first = 0; first < end; first += per_block) {
    RefcountBlockView block{
        first / per_block, first, std::min(per_block, end - first), BlockState::absent, {}};
    if (block.index < table_.size()) block.state = state(table_[block.index]);
    if (block.state == BlockState::absent && !references.counts.may_have(first, block.clusters)) {
      continue;
    }
    context_.poll(kCompareStage, static_cast<double>(first) / static_cast<double>(end));
    if (block.state == BlockState::present) {
      // No more of it than is of interest.
      const std::uint64_t bytes =
          align_up(divide_round_up(block.clusters << g.refcount_order(), std::uint64_t{8}), 8);
      block.bytes = buffer.span().first(bytes);
      try {
        context_.storage.read(block_offset(block.index).value, block.bytes);
      } catch (const Error&) {
        block.bytes = {};
        block.state = BlockState::unreadable;
      }
    }
    visit(block);
  }
}

void RefcountStructure::compare(References& references) {
  for_each_block(references, compared_clusters(references),
                 [&](const RefcountBlockView& block) { compare_block(references, block); });
}

void RefcountStructure::compare_block(References& references, const RefcountBlockView& block) {
  Findings& findings = references.findings;
  if (block.state == BlockState::unreadable) {
    findings.check_errors += block.clusters;
    findings.refcount_check_errors += block.clusters;
    context_.note("Can't get refcount for clusters {} to {}", block.first,
                  block.first + block.clusters - 1);
    is_damaged_ = true;
    return;
  }
  const std::uint32_t order = context_.geometry.refcount_order();
  const std::uint64_t corruptions_before = findings.refcount_corruptions;
  for (std::uint64_t i = 0; i < block.clusters; ++i) {
    i += agreeing(references, block, i);
    if (i == block.clusters) break;
    const std::uint64_t refcount =
        block.bytes.empty() ? 0 : load_refcount(block.bytes.data(), i, order);
    compare_one(references, block.first + i, refcount);
  }
  if (block.state == BlockState::absent && findings.refcount_corruptions != corruptions_before) {
    lacks_blocks_ = true;
  }
}

std::uint64_t RefcountStructure::agreeing(References& references, const RefcountBlockView& block,
                                          std::uint64_t from) const noexcept {
  constexpr std::uint64_t kGroup = 8;
  const std::uint8_t* cells = references.counts.narrow_cells();
  if (cells == nullptr || block.bytes.empty() || context_.geometry.refcount_order() != 4) return 0;
  cells += block.first;
  std::uint64_t i = from;
  for (; i + kGroup <= block.clusters; i += kGroup) {
    // Mostly all eight are alike: one comparison then does for all.
    std::uint64_t eight_cells;
    std::uint64_t four_refcounts[2];
    std::memcpy(&eight_cells, cells + i, sizeof eight_cells);
    std::memcpy(four_refcounts, block.bytes.data() + i * 2, sizeof four_refcounts);
    if (std::rotl(eight_cells, 8) != eight_cells || four_refcounts[0] != four_refcounts[1] ||
        std::rotl(four_refcounts[0], 16) != four_refcounts[0] ||
        !agrees(cells[i], load_big_endian<std::uint16_t>(four_refcounts))) {
      break;
    }
    if (eight_cells != 0) references.findings.highest_cluster = block.first + i + kGroup - 1;
  }
  return i - from;
}

void RefcountStructure::compare_one(References& references, std::uint64_t cluster,
                                    std::uint64_t refcount) {
  Findings& findings = references.findings;
  const std::uint64_t refcount_max = context_.geometry.refcount_max();
  std::uint64_t count = references.counts.count(cluster);
  if (count > refcount_max) {
    references.corruption(count - refcount_max,
                          "ERROR: overflow cluster offset={:#x}; convert the image to a clean copy "
                          "to increase the refcount entry width",
                          cluster << context_.geometry.cluster_bits());
    count = refcount_max;
  }
  if (count != 0 || refcount != 0) findings.highest_cluster = cluster;
  if (refcount > count) {
    ++findings.leaks;
    context_.note("Leaked cluster {} refcount={} reference={}", cluster, refcount, count);
  } else if (refcount < count) {
    references.corruption(1, "ERROR cluster {} refcount={} reference={}", cluster, refcount, count);
    ++findings.refcount_corruptions;
  }
  const std::uint8_t wrong_claim = refcount == 1 ? claim::kShared : claim::kCopied;
  if ((references.counts.claims(cluster) & wrong_claim) != 0) references.claims_wrong = true;
}

std::uint64_t RefcountStructure::lookup(std::uint64_t cluster) {
  const Geometry& g = context_.geometry;
  const std::uint64_t index = cluster >> g.refcount_block_bits();
  if (index >= table_.size() || state(table_[index]) != BlockState::present) return 0;
  const std::uint64_t entry = cluster & (g.refcount_block_entries() - 1);
  const std::uint64_t at = (entry << g.refcount_order()) / 8;
  const std::uint64_t slice_bytes = std::min<std::uint64_t>(kLookupSliceBytes, g.cluster_size());
  const std::uint64_t offset = block_offset(index).value + align_down(at, slice_bytes);
  if (offset != slice_offset_) {
    slice_.resize(slice_bytes);
    slice_offset_ = offset;
    context_.storage.read(offset, slice_);
  }
  const std::uint64_t entries_per_slice = slice_bytes * 8 >> g.refcount_order();
  return load_refcount(slice_.data(), entry & (entries_per_slice - 1), g.refcount_order());
}

bool RefcountStructure::set(std::uint64_t first, std::uint64_t n, std::uint64_t value) {
  const Geometry& g = context_.geometry;
  for (std::uint64_t cluster = first; cluster < first + n; ++cluster) {
    const std::uint64_t index = cluster >> g.refcount_block_bits();
    if (index >= table_.size() || state(table_[index]) != BlockState::present) return false;
  }
  for (std::uint64_t cluster = first; cluster < first + n; ++cluster) {
    const std::uint64_t entry = cluster & (g.refcount_block_entries() - 1);
    const std::uint64_t at = (entry << g.refcount_order()) / 8;
    std::byte bytes[8];  // the widest entry, or all that share a byte
    const std::uint64_t size = std::max<std::uint64_t>(g.refcount_bits() / 8, 1);
    const std::span<std::byte> part(bytes, size);
    const std::uint64_t host_offset = block_offset(cluster >> g.refcount_block_bits()).value + at;
    context_.storage.read(host_offset, part);
    const std::uint64_t entries_in_byte = std::max<std::uint64_t>(8 >> g.refcount_order(), 1);
    store_refcount(bytes, entry & (entries_in_byte - 1), g.refcount_order(), value);
    context_.storage.write(host_offset, part);
  }
  slice_offset_ = ~std::uint64_t{0};
  return true;
}

}  // namespace qcowkit::qcow2
