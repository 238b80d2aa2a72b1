#include "formats/qcow2/check_repair.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "formats/qcow2/limits.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

/// Freed ranges that are remembered; more are free all the same.
constexpr std::size_t kFreedRangesMax = std::size_t{1} << 18;

void note_freed(RefcountChanges& changes, std::uint64_t cluster) {
  if (!changes.freed.empty() &&
      changes.freed.back().first + changes.freed.back().second == cluster) {
    ++changes.freed.back().second;
  } else if (changes.freed.size() < kFreedRangesMax) {
    changes.freed.emplace_back(cluster, 1);
  }
}

/// Mends one block in memory and writes the part of it that has changed.
class BlockMending {
 public:
  BlockMending(References& references, RefcountStructure& refcounts, const RefcountMending& mending,
               RefcountChanges& changes)
      : references_(references), refcounts_(refcounts), mending_(mending), changes_(changes) {}

  void block(const RefcountBlockView& block) {
    if (block.state != BlockState::present) return;
    std::uint64_t begin = block.clusters;
    std::uint64_t end = 0;
    for (std::uint64_t i = 0; i < block.clusters; ++i) {
      i += refcounts_.agreeing(references_, block, i);
      if (i == block.clusters) break;
      if (!entry(block, i)) continue;
      begin = std::min(begin, i);
      end = i + 1;
    }
    if (begin >= end) return;
    const std::uint32_t order = references_.context.geometry.refcount_order();
    const std::uint64_t first_byte = (begin << order) / 8;
    const std::uint64_t end_byte = divide_round_up(end << order, std::uint64_t{8});
    references_.context.storage.write(refcounts_.block_offset(block.index).value + first_byte,
                                      block.bytes.subspan(first_byte, end_byte - first_byte));
  }

 private:
  /// True if the entry was changed.
  bool entry(const RefcountBlockView& block, std::uint64_t i) {
    const Geometry& g = references_.context.geometry;
    const std::uint64_t cluster = block.first + i;
    const std::uint64_t count = std::min(references_.counts.count(cluster), g.refcount_max());
    const std::uint64_t refcount = load_refcount(block.bytes.data(), i, g.refcount_order());
    if (refcount == count || !(refcount < count ? mending_.raises : mending_.lowers)) return false;
    references_.context.note("Repairing cluster {} refcount={} reference={}", cluster, refcount,
                             count);
    store_refcount(block.bytes.data(), i, g.refcount_order(), count);
    ++(refcount < count ? changes_.raised : changes_.lowered);
    if (count == 0) note_freed(changes_, cluster);
    const std::uint8_t wrong_claim = count == 1 ? claim::kShared : claim::kCopied;
    if ((references_.counts.claims(cluster) & wrong_claim) != 0) references_.claims_wrong = true;
    return true;
  }

  References& references_;
  RefcountStructure& refcounts_;
  const RefcountMending mending_;
  RefcountChanges& changes_;
};

using HeaderSector = std::array<std::byte, kSectorBytes>;

void write_header_field(CheckContext& context, std::size_t offset,
                        std::span<const std::byte> bytes) {
  HeaderSector sector;
  context.storage.read(0, sector);
  std::copy(bytes.begin(), bytes.end(), sector.begin() + static_cast<std::ptrdiff_t>(offset));
  context.storage.write(0, sector);
  context.storage.flush();
}

}  // namespace

RefcountChanges mend_refcounts(References& references, RefcountStructure& refcounts,
                               const RefcountMending& mending) {
  RefcountChanges changes;
  BlockMending block_mending(references, refcounts, mending, changes);
  refcounts.for_each_block(references, RefcountStructure::compared_clusters(references),
                           [&](const RefcountBlockView& block) { block_mending.block(block); });
  if (changes.raised + changes.lowered != 0) references.context.storage.flush();
  return changes;
}

void write_refcount_table_fields(CheckContext& context, HostOffset host_offset,
                                 std::uint32_t clusters) {
  // The two fields are neighbours (qcow2 spec, Header).
  static_assert(offsetof(RawHeader, refcount_table_clusters) ==
                offsetof(RawHeader, refcount_table_offset) + 8);
  std::array<std::byte, 12> fields;
  store_big_endian(fields.data(), host_offset.value);
  store_big_endian(fields.data() + 8, clusters);
  write_header_field(context, offsetof(RawHeader, refcount_table_offset), fields);
  context.header.refcount_table_offset = host_offset;
  context.header.refcount_table_clusters = clusters;
}

void write_snapshots_offset(CheckContext& context, HostOffset host_offset) {
  std::array<std::byte, 8> field;
  store_big_endian(field.data(), host_offset.value);
  write_header_field(context, offsetof(RawHeader, snapshots_offset), field);
  context.header.snapshots_offset = host_offset;
}

void write_incompatible_features(CheckContext& context, std::uint64_t features) {
  std::array<std::byte, 8> field;
  store_big_endian(field.data(), features);
  write_header_field(context, offsetof(RawHeader, incompatible_features), field);
  context.header.incompatible_features = features;
}

}  // namespace qcowkit::qcow2
