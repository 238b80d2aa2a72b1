#include "formats/qcow2/cluster_map.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/l1_table.h"
#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

/// What the subcluster with the bit `bit` is.
ExtentKind subcluster_kind(const L2Mapping& mapping, std::uint32_t bit) noexcept {
  if ((mapping.allocated & bit) != 0) return ExtentKind::data;
  if ((mapping.zero & bit) != 0) return ExtentKind::zero;
  return ExtentKind::unallocated;
}

/// How many subclusters from `first` on are of the same kind as that one.
std::uint32_t equal_subclusters(const L2Mapping& mapping, std::uint32_t first,
                                const Geometry& g) noexcept {
  if (!g.extended_l2()) return 1;
  std::uint32_t same = 0;
  switch (subcluster_kind(mapping, 1u << first)) {
    case ExtentKind::data:
      same = mapping.allocated;
      break;
    case ExtentKind::zero:
      same = mapping.zero;
      break;
    default:
      same = ~(mapping.allocated | mapping.zero);
      break;
  }
  return std::min(static_cast<std::uint32_t>(std::countr_one(same >> first)), 32 - first);
}

}  // namespace

ClusterMap::ClusterMap(Storage& storage, Storage* data_storage, OverlapGuard& guard,
                       const L2Rules& rules, std::uint64_t cache_bytes, std::uint64_t slice_bytes)
    : storage_(storage),
      data_storage_(data_storage),
      guard_(guard),
      slice_bytes_(std::min(slice_bytes != 0 ? slice_bytes : kSliceBytesDefault,
                            rules.geometry.cluster_size())),
      rules_(rules),
      tables_(slice_bytes_, cache_bytes) {}

void ClusterMap::load(const Header& header) {
  adopt(load_l1_table(storage_, header.l1_table_offset, header.l1_size), header);
}

void ClusterMap::adopt(std::vector<std::uint64_t> l1_table, const Header& header) {
  const ExclusiveLock lock(mutex_);
  rules_.geometry = header.geometry();
  rules_.zero_flag = header.version >= 3 && !header.geometry().extended_l2();
  tables_.start_from(std::move(l1_table), header.l1_table_offset, header.geometry().cluster_size());
  guard_.set_l2_tables(tables_.l1());
  note_dirty_count();
}

std::vector<std::uint64_t> ClusterMap::l1_table() const {
  const SharedLock lock(mutex_);
  return tables_.l1();
}

bool ClusterMap::covers(GuestOffset guest_offset) const {
  const SharedLock lock(mutex_);
  return rules_.geometry.l1_index(guest_offset) < tables_.l1().size();
}

void ClusterMap::drop_unused() {
  const ExclusiveLock lock(mutex_);
  tables_.drop_unused();
}

L1Entry ClusterMap::l1_entry(GuestOffset guest_offset) const {
  const std::uint64_t index = rules_.geometry.l1_index(guest_offset);
  if (index >= tables_.l1().size()) return {};  // the disk may just have become smaller
  const L1Entry entry(tables_.l1()[index]);
  if (!entry.is_aligned_to(rules_.geometry)) {
    throw CorruptImage(storage_,
                       fmt::format("L1 table: entry {} is {:#x}, expected an L2 table offset "
                                   "that is a multiple of the cluster size {}",
                                   index, entry.raw(), rules_.geometry.cluster_size()));
  }
  return entry;
}

std::uint64_t ClusterMap::slice_offset(L1Entry entry, GuestOffset guest_offset) const noexcept {
  const std::uint64_t byte = rules_.geometry.l2_index(guest_offset)
                             << rules_.geometry.l2_entry_bits();
  return entry.l2_table().value + align_down(byte, slice_bytes_);
}

/// In an external data file each cluster lies at its guest offset (qcow2 spec, Header: external
/// data file bit).
void ClusterMap::require_own_place(const L2Mapping& mapping, GuestOffset guest_offset) const {
  if (!rules_.data_file || !mapping.has_host_cluster) return;
  const std::uint64_t expected = align_down(guest_offset.value, rules_.geometry.cluster_size());
  if (mapping.host_offset.value == expected) return;
  throw CorruptImage(storage_,
                     fmt::format("L2 table: the entry for guest offset {:#x} has the host "
                                 "offset {:#x}, expected {:#x}, as in all images with an "
                                 "external data file",
                                 guest_offset.value, mapping.host_offset.value, expected));
}

L2Mapping ClusterMap::decode(RawL2Entry raw, GuestOffset guest_offset) const {
  const L2Mapping mapping = L2Mapping::decode(raw, rules_);
  if (mapping.kind == L2Mapping::Kind::invalid) {
    throw CorruptImage(storage_,
                       fmt::format("L2 table: the entry for guest offset {:#x} is {:#x}: {}",
                                   guest_offset.value, raw.descriptor, mapping.what_is_wrong));
  }
  return mapping;
}

// --- Looking up --------------------------------------------------------------------------------

LayerExtent ClusterMap::find(GuestOffset guest_offset, std::uint64_t length_bytes) {
  return find_for(Purpose::read, guest_offset, length_bytes);
}

ClusterMap::InPlaceRun ClusterMap::find_in_place(GuestOffset guest_offset,
                                                 std::uint64_t length_bytes) {
  const LayerExtent extent = find_for(Purpose::overwrite, guest_offset, length_bytes);
  if (extent.kind != ExtentKind::data) return {};
  return {extent.host_offset, extent.length_bytes};
}

std::size_t ClusterMap::find_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                                  std::span<LayerExtent> into) {
  if (length_bytes == 0 || into.empty()) return 0;
  return find_runs_for(Purpose::read, guest_offset, length_bytes, into);
}

LayerExtent ClusterMap::find_for(Purpose purpose, GuestOffset guest_offset,
                                 std::uint64_t length_bytes) {
  LayerExtent extent;
  find_runs_for(purpose, guest_offset, length_bytes, {&extent, 1});
  return extent;
}

std::size_t ClusterMap::find_runs_for(Purpose purpose, GuestOffset guest_offset,
                                      std::uint64_t length_bytes, std::span<LayerExtent> into) {
  std::size_t count = 0;
  for (;;) {
    std::optional<std::uint64_t> missing_slice;
    std::uint64_t generation = 0;
    {
      const SharedLock lock(mutex_);
      do {
        LayerExtent& run = into[count];
        run = {};
        missing_slice = try_find(guest_offset, length_bytes, purpose, run);
        if (missing_slice) break;
        guest_offset += run.length_bytes;
        length_bytes -= run.length_bytes;
        ++count;
      } while (count < into.size() && length_bytes > 0);
      generation = tables_.generation();
    }
    if (!missing_slice) return count;
    load_slice(*missing_slice, generation);
  }
}

void ClusterMap::load_slice(std::uint64_t slice_host_offset, std::uint64_t generation) {
  Buffer data(slice_bytes_, MetadataCache::kAlignment);
  storage_.raise(Event::l2_load, slice_host_offset, slice_bytes_);
  storage_.read(slice_host_offset, data.span());
  const ExclusiveLock lock(mutex_);
  tables_.insert_read(slice_host_offset, std::move(data), generation);
}

/// Unallocated bytes from a guest offset on that has no L2 table.
std::uint64_t ClusterMap::unallocated_run(GuestOffset guest_offset,
                                          std::uint64_t length_bytes) const {
  const Geometry& g = rules_.geometry;
  std::uint64_t run = g.l1_entry_covers() - (guest_offset.value & (g.l1_entry_covers() - 1));
  while (run < length_bytes && !l1_entry(guest_offset + run).has_table()) {
    run += g.l1_entry_covers();
  }
  return std::min(run, length_bytes);
}

std::optional<std::uint64_t> ClusterMap::try_find(GuestOffset guest_offset,
                                                  std::uint64_t length_bytes, Purpose purpose,
                                                  LayerExtent& extent) {
  const Geometry& g = rules_.geometry;
  const L1Entry table = l1_entry(guest_offset);
  if (!table.has_table()) {
    extent.length_bytes = unallocated_run(guest_offset, length_bytes);
    return std::nullopt;
  }
  const std::uint64_t slice_at = slice_offset(table, guest_offset);
  const MetadataCache::Slice* slice = tables_.find(slice_at);
  if (slice == nullptr) return slice_at;

  const RawL2Entry raw = RawL2Entry::load(slice->data(), index_in_slice(guest_offset), g);
  const L2Mapping mapping = decode(raw, guest_offset);
  require_own_place(mapping, guest_offset);
  const std::uint64_t in_cluster = g.in_cluster(guest_offset.value);
  if (mapping.kind == L2Mapping::Kind::compressed) {
    extent.kind = ExtentKind::compressed;
    extent.length_bytes = std::min(length_bytes, g.cluster_size() - in_cluster);
    extent.host_offset = mapping.host_offset;
    extent.storage = &storage_;
    extent.has_host_offset = true;
    extent.compressed_bytes = mapping.compressed_bytes;
    return std::nullopt;
  }

  const auto subcluster = static_cast<std::uint32_t>(in_cluster >> g.subcluster_bits());
  extent.kind = subcluster_kind(mapping, 1u << subcluster);
  if (purpose == Purpose::overwrite &&
      (extent.kind != ExtentKind::data || !mapping.copied || !table.copied())) {
    extent.kind = ExtentKind::unallocated;
    return std::nullopt;
  }
  if (mapping.has_host_cluster && extent.kind != ExtentKind::unallocated) {
    extent.host_offset = mapping.host_offset + in_cluster;
    extent.storage = data_storage_;
    extent.has_host_offset = true;
  }
  const std::uint32_t equal = equal_subclusters(mapping, subcluster, g);
  extent.length_bytes = (std::uint64_t{subcluster} + equal) * g.subcluster_size() - in_cluster;
  if (in_cluster + extent.length_bytes == g.cluster_size() && extent.length_bytes < length_bytes) {
    extent.length_bytes = extend_run(guest_offset, length_bytes, purpose, extent, raw);
  }
  extent.length_bytes = std::min(extent.length_bytes, length_bytes);
  if (purpose == Purpose::overwrite && data_storage_ == &storage_) {
    require_unprotected(guest_offset, extent.host_offset, extent.length_bytes);
  }
  return std::nullopt;
}

/// Follows a run, which reaches the end of its first cluster, through the clusters behind it as
/// long as they continue it and the cache knows them. Returns its length.
std::uint64_t ClusterMap::extend_run(GuestOffset guest_offset, std::uint64_t length_bytes,
                                     Purpose purpose, const LayerExtent& extent, RawL2Entry first) {
  const Geometry& g = rules_.geometry;
  std::uint64_t run = extent.length_bytes;
  // Standard entries can be compared as they are; extended ones have to be understood.
  // In a data file, host offset 0 differs from "none" by the COPIED flag.
  const bool copied_counts = purpose == Purpose::overwrite || rules_.data_file;
  const std::uint64_t mask = RawL2Entry::kOffsetMask | RawL2Entry::kCompressed | RawL2Entry::kZero |
                             (copied_counts ? RawL2Entry::kCopied : 0);
  const std::uint64_t step = extent.has_host_offset ? g.cluster_size() : 0;
  std::uint64_t expected = first.descriptor & mask;

  while (run < length_bytes) {
    const GuestOffset next = guest_offset + run;
    const L1Entry table = l1_entry(next);
    if (!table.has_table() || (purpose == Purpose::overwrite && !table.copied())) return run;
    const MetadataCache::Slice* slice = tables_.find(slice_offset(table, next));
    if (slice == nullptr) return run;
    for (std::uint64_t i = index_in_slice(next); i < entries_per_slice() && run < length_bytes;
         ++i) {
      const RawL2Entry raw = RawL2Entry::load(slice->data(), i, g);
      if (!g.extended_l2()) {
        expected += step;
        if ((raw.descriptor & mask) != expected) return run;
        run += g.cluster_size();
        continue;
      }
      const L2Mapping mapping = L2Mapping::decode(raw, rules_);
      if (mapping.kind != L2Mapping::Kind::standard || subcluster_kind(mapping, 1) != extent.kind ||
          (purpose == Purpose::overwrite && !mapping.copied)) {
        return run;
      }
      const bool has_host = mapping.has_host_cluster && extent.kind != ExtentKind::unallocated;
      if (has_host != extent.has_host_offset) return run;
      if (has_host && mapping.host_offset != extent.host_offset + run) return run;
      const std::uint32_t equal = equal_subclusters(mapping, 0, g);
      run += equal * g.subcluster_size();
      if (equal < g.subclusters()) return run;
    }
  }
  return run;
}

// --- Changing ----------------------------------------------------------------------------------

bool ClusterMap::has_own_table(GuestOffset guest_offset) {
  const Geometry& g = rules_.geometry;
  const SharedLock lock(mutex_);
  const L1Entry table = l1_entry(guest_offset);
  if (!table.has_table() || !table.copied()) return false;
  if (const char* structure = guard_.hit(table.l2_table(), g.cluster_size(), overlap::kActiveL2)) {
    throw CorruptImage(storage_, fmt::format("L1 table: entry {} is {:#x}, where the {} lies",
                                             g.l1_index(guest_offset), table.raw(), structure));
  }
  return true;
}

void ClusterMap::require_unprotected(GuestOffset guest_offset, HostOffset host_offset,
                                     std::uint64_t length_bytes) const {
  if (const char* structure = guard_.hit(host_offset, length_bytes)) {
    throw CorruptImage(storage_,
                       fmt::format("L2 table: guest offset {:#x} is mapped to host offset "
                                   "{:#x}, where the {} lies",
                                   guest_offset.value, host_offset.value, structure));
  }
}

void ClusterMap::require_reusable(GuestOffset guest_offset, HostOffset host_offset,
                                  std::uint64_t length_bytes) {
  if (data_storage_ == &storage_) require_unprotected(guest_offset, host_offset, length_bytes);
}

bool ClusterMap::read_entries(GuestOffset first_cluster, std::span<RawL2Entry> into) {
  const Geometry& g = rules_.geometry;
  for (std::size_t done = 0;;) {
    std::uint64_t missing_slice = 0;
    std::uint64_t generation = 0;
    {
      const SharedLock lock(mutex_);
      const L1Entry table = l1_entry(first_cluster);
      if (!table.has_table()) {
        std::fill(into.begin(), into.end(), RawL2Entry{});
        return false;
      }
      while (done < into.size()) {
        const GuestOffset at = first_cluster + done * g.cluster_size();
        missing_slice = slice_offset(table, at);
        const MetadataCache::Slice* slice = tables_.find(missing_slice);
        if (slice == nullptr) break;
        for (std::uint64_t i = index_in_slice(at); i < entries_per_slice() && done < into.size();
             ++i) {
          into[done++] = RawL2Entry::load(slice->data(), i, g);
        }
      }
      if (done == into.size()) return table.copied();
      generation = tables_.generation();
    }
    load_slice(missing_slice, generation);
  }
}

std::optional<HostOffset> ClusterMap::install_table(GuestOffset guest_offset,
                                                    HostOffset new_table) {
  const Geometry& g = rules_.geometry;
  std::optional<HostOffset> old_table;
  {
    const SharedLock lock(mutex_);
    const L1Entry entry = l1_entry(guest_offset);
    if (entry.has_table()) old_table = entry.l2_table();
  }
  // Nothing points at the new table, and a shared one is never changed: no lock is needed here.
  Buffer content(g.cluster_size());
  if (old_table) {
    storage_.raise(Event::l2_alloc_cow_read, old_table->value, g.cluster_size());
    storage_.read(old_table->value, content.span());
  }
  storage_.raise(Event::l2_alloc_write, new_table.value, g.cluster_size());
  if (old_table) {
    storage_.write(new_table.value, content.span());
  } else if (slice_bytes_ < g.cluster_size()) {
    storage_.write_zeroes(new_table.value, g.cluster_size(), {});
  }

  const ExclusiveLock lock(mutex_);
  const std::uint64_t index = g.l1_index(guest_offset);
  const L1Entry entry = L1Entry::table(new_table, true);
  Buffer slice(slice_bytes_);
  const std::uint64_t slice_at = slice_offset(entry, guest_offset);
  if (old_table) {
    std::memcpy(slice.data(), content.data() + (slice_at - new_table.value), slice.size());
  } else {
    std::memset(slice.data(), 0, slice.size());
  }
  tables_.link(index, entry.raw(),
               {.host_offset = new_table,
                .slice_host_offset = slice_at,
                .slice = std::move(slice),
                .is_dirty = true});
  guard_.replace_l2_table(old_table ? &*old_table : nullptr, new_table);
  note_dirty_count();
  return old_table;
}

std::uint64_t ClusterMap::entries_without_table(GuestOffset guest_offset,
                                                std::uint64_t entries_max) const {
  const Geometry& g = rules_.geometry;
  const SharedLock lock(mutex_);
  std::uint64_t found = 0;
  while (found < entries_max && !l1_entry(guest_offset + found * g.l1_entry_covers()).has_table()) {
    ++found;
  }
  return found;
}

void ClusterMap::link_tables(GuestOffset guest_offset, HostOffset first_table,
                             std::uint64_t tables) {
  const std::uint64_t table_bytes = rules_.geometry.cluster_size();
  std::vector<std::uint64_t> entries;
  for (std::uint64_t i = 0; i < tables; ++i) {
    const HostOffset table = first_table + i * table_bytes;
    entries.push_back(L1Entry::table(table, true).raw());
    guard_.replace_l2_table(nullptr, table);
  }
  const ExclusiveLock lock(mutex_);
  tables_.link_written(rules_.geometry.l1_index(guest_offset), entries, first_table);
}

void ClusterMap::replace_entries(GuestOffset first_cluster, std::span<const RawL2Entry> entries,
                                 std::size_t& replaced) {
  const Geometry& g = rules_.geometry;
  replaced = 0;
  while (replaced < entries.size()) {
    std::uint64_t slice_at = 0;
    std::uint64_t generation = 0;
    {
      const ExclusiveLock lock(mutex_);
      const GuestOffset at = first_cluster + replaced * g.cluster_size();
      const L1Entry table = l1_entry(at);
      assert(table.has_table() && table.copied());
      slice_at = slice_offset(table, at);
      if (MetadataCache::Slice* slice = tables_.find(slice_at)) {
        for (std::uint64_t i = index_in_slice(at);
             i < entries_per_slice() && replaced < entries.size(); ++i) {
          entries[replaced++].store(slice->data(), i, g);
        }
        tables_.mark_dirty(*slice);
        note_dirty_count();
        continue;
      }
      generation = tables_.generation();
    }
    load_slice(slice_at, generation);
  }
}

// --- Write-back --------------------------------------------------------------------------------

ClusterMap::Dirty ClusterMap::begin_write() {
  const ExclusiveLock lock(mutex_);
  Dirty dirty = tables_.begin_write();
  note_dirty_count();
  return dirty;
}

void ClusterMap::end_write(Dirty& dirty) {
  const ExclusiveLock lock(mutex_);
  tables_.end_write(dirty);
  note_dirty_count();
}

}  // namespace qcowkit::qcow2
