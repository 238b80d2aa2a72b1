#include "formats/qcow2/overlap_guard.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l1_table.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/snapshot_table.h"

namespace qcowkit::qcow2 {

namespace {

const char* name_of(std::uint32_t kind) noexcept {
  switch (kind) {
    case overlap::kMainHeader:
      return "header";
    case overlap::kActiveL1:
      return "L1 table";
    case overlap::kRefcountTable:
      return "refcount table";
    case overlap::kSnapshotTable:
      return "snapshot table";
    case overlap::kInactiveL1:
      return "L1 table of a snapshot";
    default:
      return "bitmap directory";
  }
}

}  // namespace

// --- ClusterSet --------------------------------------------------------------------------------

void ClusterSet::erase(std::uint64_t cluster) noexcept {
  const auto chunk = chunks_.find(cluster / kChunk);
  if (chunk != chunks_.end()) chunk->second[word_of(cluster)] &= ~bit_of(cluster);
}

bool ClusterSet::any_bit(const Chunk& chunk, std::uint64_t first, std::uint64_t end) noexcept {
  for (std::uint64_t c = first; c < end;) {
    const std::uint64_t in_word = c % 64;
    const std::uint64_t n = std::min(end - c, 64 - in_word);
    const std::uint64_t mask = (n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1);
    if ((chunk[c / 64] >> in_word & mask) != 0) return true;
    c += n;
  }
  return false;
}

bool ClusterSet::touches(std::uint64_t first, std::uint64_t end) const noexcept {
  while (first < end) {
    const std::uint64_t chunk_end = std::min(end, (first / kChunk + 1) * kChunk);
    const auto chunk = chunks_.find(first / kChunk);
    const std::uint64_t base = first / kChunk * kChunk;
    if (chunk != chunks_.end() && any_bit(chunk->second, first - base, chunk_end - base)) {
      return true;
    }
    first = chunk_end;
  }
  return false;
}

// --- OverlapGuard ------------------------------------------------------------------------------

void OverlapGuard::add_place(Places& to, std::uint32_t kind, HostOffset host_offset,
                             std::uint64_t bytes) const {
  if (!checks_for(kind) || bytes == 0) return;
  const std::uint64_t end =
      align_up(host_offset.value + bytes, std::uint64_t{1} << to.cluster_bits);
  to.ranges.push_back({kind, host_offset.value, end});
}

OverlapGuard::Places OverlapGuard::read_places(Storage& storage, const Header& header) const {
  const std::uint64_t cluster_size = header.geometry().cluster_size();
  Places places;
  places.cluster_bits = header.cluster_bits;
  add_place(places, overlap::kMainHeader, {}, cluster_size);
  add_place(places, overlap::kActiveL1, header.l1_table_offset, std::uint64_t{header.l1_size} * 8);
  add_place(places, overlap::kRefcountTable, header.refcount_table_offset,
            header.refcount_table_clusters * cluster_size);
  if (header.bitmaps) {
    add_place(places, overlap::kBitmapDirectory, header.bitmaps->bitmap_directory_offset,
              header.bitmaps->bitmap_directory_size);
  }
  constexpr std::uint32_t kNeedTable =
      overlap::kSnapshotTable | overlap::kInactiveL1 | overlap::kInactiveL2;
  if (header.nb_snapshots != 0 && checks_for(kNeedTable)) add_snapshots(places, storage, header);
  return places;
}

void OverlapGuard::add_snapshots(Places& to, Storage& storage, const Header& header) const {
  const SnapshotTable table = read_snapshot_table(storage, header);
  add_place(to, overlap::kSnapshotTable, header.snapshots_offset, table.size_bytes);
  for (const SnapshotEntry& entry : table.entries) {
    add_place(to, overlap::kInactiveL1, entry.l1_table_offset, std::uint64_t{entry.l1_size} * 8);
    if (!checks_for(overlap::kInactiveL2)) continue;
    for (const std::uint64_t raw : load_l1_table(storage, entry.l1_table_offset, entry.l1_size)) {
      const L1Entry l1_entry(raw);
      if (!l1_entry.has_table()) continue;
      to.inactive_l2_tables.insert(l1_entry.l2_table().value >> to.cluster_bits);
    }
  }
}

void OverlapGuard::set_places(Places places) noexcept {
  const ExclusiveLock lock(mutex_);
  places_ = std::move(places);
}

void OverlapGuard::set_refcount_table(HostOffset host_offset, std::uint64_t bytes) {
  const ExclusiveLock lock(mutex_);
  std::erase_if(places_.ranges,
                [](const Place& place) { return place.kind == overlap::kRefcountTable; });
  add_place(places_, overlap::kRefcountTable, host_offset, bytes);
}

void OverlapGuard::set_l2_tables(std::span<const std::uint64_t> l1_table) {
  const ExclusiveLock lock(mutex_);
  l2_tables_.clear();
  if (!checks_for(overlap::kActiveL2)) return;
  for (const std::uint64_t raw : l1_table) {
    const L1Entry entry(raw);
    if (entry.has_table()) l2_tables_.insert(entry.l2_table().value >> places_.cluster_bits);
  }
}

void OverlapGuard::replace_l2_table(const HostOffset* old_table, HostOffset new_table) {
  const ExclusiveLock lock(mutex_);
  if (!checks_for(overlap::kActiveL2)) return;
  if (old_table != nullptr) l2_tables_.erase(old_table->value >> places_.cluster_bits);
  l2_tables_.insert(new_table.value >> places_.cluster_bits);
}

void OverlapGuard::set_refcount_blocks(std::span<const std::uint64_t> refcount_table) {
  const ExclusiveLock lock(mutex_);
  refcount_blocks_.clear();
  if (!checks_for(overlap::kRefcountBlock)) return;
  for (const std::uint64_t block : refcount_table) {
    if (block != 0) refcount_blocks_.insert(block >> places_.cluster_bits);
  }
}

void OverlapGuard::add_refcount_block(HostOffset block) {
  const ExclusiveLock lock(mutex_);
  if (checks_for(overlap::kRefcountBlock))
    refcount_blocks_.insert(block.value >> places_.cluster_bits);
}

const char* OverlapGuard::hit(HostOffset host_offset, std::uint64_t bytes,
                              std::uint32_t except) const {
  const std::uint64_t end = host_offset.value + bytes;
  const SharedLock lock(mutex_);
  for (const Place& place : places_.ranges) {
    if (host_offset.value < place.end && place.begin < end && (place.kind & except) == 0) {
      return name_of(place.kind);
    }
  }
  const std::uint64_t first = host_offset.value >> places_.cluster_bits;
  const std::uint64_t cluster_end = ((end - 1) >> places_.cluster_bits) + 1;
  const auto touches = [&](std::uint32_t kind, const ClusterSet& set) {
    return (except & kind) == 0 && set.touches(first, cluster_end);
  };
  if (touches(overlap::kActiveL2, l2_tables_)) return "active L2 table";
  if (touches(overlap::kRefcountBlock, refcount_blocks_)) return "refcount block";
  if (touches(overlap::kInactiveL2, places_.inactive_l2_tables)) return "L2 table of a snapshot";
  return nullptr;
}

}  // namespace qcowkit::qcow2
