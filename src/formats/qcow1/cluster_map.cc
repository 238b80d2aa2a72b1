#include "formats/qcow1/cluster_map.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "formats/qcow1/limits.h"

namespace qcowkit::qcow1 {

namespace {

/// Tables are cached in parts of at most this size, so that large ones don't crowd others out.
constexpr std::uint64_t kSliceBytesMax = 4096;

}  // namespace

ClusterMap::ClusterMap(Storage& storage, const Header& header, std::uint64_t cache_bytes)
    : storage_(storage),
      geometry_(header.geometry()),
      l1_offset_(header.l1_table_offset),
      l1_entries_(header.l1_entries()),
      is_encrypted_(header.crypt_method != CryptMethod::none),
      slice_bytes_(std::min(kSliceBytesMax, geometry_.l2_table_bytes())),
      tables_(slice_bytes_, cache_bytes) {
  reload();
}

std::vector<std::uint64_t> ClusterMap::read_l1() const {
  std::vector<std::uint64_t> entries(l1_entries_);
  storage_.read(l1_offset_.value, std::as_writable_bytes(std::span(entries)));
  for (std::uint64_t& entry : entries) entry = big_endian(entry);
  return entries;
}

void ClusterMap::reload() { start_from(read_l1()); }
void ClusterMap::forget_all() { start_from(std::vector<std::uint64_t>(l1_entries_)); }

void ClusterMap::start_from(std::vector<std::uint64_t> l1) {
  const ExclusiveLock lock(mutex_);
  tables_.start_from(std::move(l1), l1_offset_, geometry_.l2_table_bytes());
  note_dirty_count();
}

bool ClusterMap::hits_header(HostOffset host_offset, std::uint64_t length_bytes) const noexcept {
  const HostOffset end = host_offset + length_bytes;
  return host_offset.value < sizeof(RawHeader) ||
         (l1_offset_ < end && host_offset < l1_offset_ + l1_entries_ * sizeof(std::uint64_t));
}

std::uint64_t ClusterMap::table_for(GuestOffset guest_offset) const {
  const std::uint64_t index = geometry_.l1_index(guest_offset);
  assert(index < tables_.l1().size());
  const std::uint64_t table = tables_.l1()[index];
  if (table == 0) return 0;
  if (table > kFileEnd - geometry_.l2_table_bytes() ||
      hits_header({table}, geometry_.l2_table_bytes())) {
    throw Error(Errc::corrupt,
                fmt::format("L1 table: entry {} is {:#x}, expected the place of an L2 table, "
                            "behind the header and apart from the L1 table",
                            index, table));
  }
  return table;
}

L2Mapping ClusterMap::decode(std::uint64_t raw, GuestOffset guest_offset) const {
  const L2Mapping mapping = L2Mapping::decode(raw, geometry_);
  if (mapping.kind == L2Mapping::Kind::invalid) {
    throw Error(Errc::corrupt,
                fmt::format("L2 table: the entry for guest offset {:#x} is {:#x}, expected the "
                            "place of a cluster, a multiple of {}, or of a compressed cluster",
                            guest_offset.value, raw, kSectorBytes));
  }
  return mapping;
}

// --- Looking up --------------------------------------------------------------------------------

LayerExtent ClusterMap::find(GuestOffset guest_offset, std::uint64_t length_bytes) {
  for (;;) {
    LayerExtent extent;
    std::optional<std::uint64_t> missing_slice;
    std::uint64_t generation = 0;
    {
      const SharedLock lock(mutex_);
      missing_slice = try_find(guest_offset, length_bytes, extent);
      generation = tables_.generation();
    }
    if (!missing_slice) return extent;
    load_slice(*missing_slice, generation);
  }
}

ClusterMap::InPlaceRun ClusterMap::find_in_place(GuestOffset guest_offset,
                                                 std::uint64_t length_bytes) {
  const LayerExtent extent = find(guest_offset, length_bytes);
  if (extent.kind != ExtentKind::data) return {};
  if (hits_header(extent.host_offset, extent.length_bytes)) {
    throw Error(Errc::corrupt, fmt::format("L2 table: guest offset {:#x} is mapped to host offset "
                                           "{:#x}, where the header or the L1 table lies",
                                           guest_offset.value, extent.host_offset.value));
  }
  return {extent.host_offset, extent.length_bytes};
}

void ClusterMap::load_slice(std::uint64_t slice_host_offset, std::uint64_t generation) {
  Buffer data(slice_bytes_, MetadataCache::kAlignment);
  storage_.raise(Event::l2_load, slice_host_offset, slice_bytes_);
  storage_.read(slice_host_offset, data.span());
  const ExclusiveLock lock(mutex_);
  tables_.insert_read(slice_host_offset, std::move(data), generation);
}

std::optional<std::uint64_t> ClusterMap::try_find(GuestOffset guest_offset,
                                                  std::uint64_t length_bytes, LayerExtent& extent) {
  const Geometry& g = geometry_;
  const std::uint64_t table = table_for(guest_offset);
  if (table == 0) {
    extent.length_bytes = unallocated_run(guest_offset, length_bytes);
    return std::nullopt;
  }
  const std::uint64_t slice_at = slice_offset(table, guest_offset);
  const MetadataCache::Slice* slice = tables_.find(slice_at);
  if (slice == nullptr) return slice_at;

  const auto raw = load_big_endian<std::uint64_t>(slice->data() + index_in_slice(guest_offset) * 8);
  const L2Mapping mapping = decode(raw, guest_offset);
  const std::uint64_t in_cluster = g.in_cluster(guest_offset.value);
  extent.length_bytes = g.cluster_size() - in_cluster;
  switch (mapping.kind) {
    case L2Mapping::Kind::compressed:
      extent.kind = ExtentKind::compressed;
      extent.host_offset = mapping.host_offset;
      extent.compressed_bytes = mapping.compressed_bytes;
      break;
    case L2Mapping::Kind::data:
      extent.kind = ExtentKind::data;
      extent.host_offset = mapping.host_offset + in_cluster;
      extent.is_encrypted = is_encrypted_;
      break;
    default:
      break;
  }
  if (extent.kind != ExtentKind::unallocated) {
    extent.storage = &storage_;
    extent.has_host_offset = true;
  }
  if (extent.kind != ExtentKind::compressed && extent.length_bytes < length_bytes) {
    extent.length_bytes = extend_run(guest_offset, length_bytes, extent.length_bytes, raw);
  }
  extent.length_bytes = std::min(extent.length_bytes, length_bytes);
  return std::nullopt;
}

/// Unallocated bytes from a guest offset on that has no L2 table.
std::uint64_t ClusterMap::unallocated_run(GuestOffset guest_offset,
                                          std::uint64_t length_bytes) const {
  const Geometry& g = geometry_;
  std::uint64_t run = g.l1_entry_covers() - (guest_offset.value & (g.l1_entry_covers() - 1));
  while (run < length_bytes && tables_.l1()[g.l1_index(guest_offset + run)] == 0) {
    run += g.l1_entry_covers();
  }
  return std::min(run, length_bytes);
}

/// Follows a run, which reaches the end of its first cluster, through the clusters behind it as
/// long as they continue it and the cache knows them. Returns its length.
std::uint64_t ClusterMap::extend_run(GuestOffset guest_offset, std::uint64_t length_bytes,
                                     std::uint64_t run, std::uint64_t first) {
  const std::uint64_t step = first == 0 ? 0 : geometry_.cluster_size();
  // An entry that would reach the flag or the files' end is no continuation.
  const std::uint64_t last = kFileEnd - geometry_.cluster_size();
  std::uint64_t expected = first;
  while (run < length_bytes) {
    const GuestOffset next = guest_offset + run;
    const std::uint64_t table = table_for(next);
    if (table == 0) return run;
    const MetadataCache::Slice* slice = tables_.find(slice_offset(table, next));
    if (slice == nullptr) return run;
    for (std::uint64_t i = index_in_slice(next); i < entries_per_slice() && run < length_bytes;
         ++i) {
      expected += step;
      if (load_big_endian<std::uint64_t>(slice->data() + i * 8) != expected || expected > last) {
        return run;
      }
      run += geometry_.cluster_size();
    }
  }
  return run;
}

void ClusterMap::read_entries(GuestOffset first_cluster, std::span<std::uint64_t> into) {
  for (std::size_t done = 0;;) {
    std::uint64_t missing_slice = 0;
    std::uint64_t generation = 0;
    {
      const SharedLock lock(mutex_);
      const std::uint64_t table = table_for(first_cluster);
      if (table == 0) {
        std::fill(into.begin(), into.end(), 0);
        return;
      }
      while (done < into.size()) {
        const GuestOffset at = first_cluster + done * geometry_.cluster_size();
        missing_slice = slice_offset(table, at);
        const MetadataCache::Slice* slice = tables_.find(missing_slice);
        if (slice == nullptr) break;
        for (std::uint64_t i = index_in_slice(at); i < entries_per_slice() && done < into.size();
             ++i) {
          into[done++] = load_big_endian<std::uint64_t>(slice->data() + i * 8);
        }
      }
      if (done == into.size()) return;
      generation = tables_.generation();
    }
    load_slice(missing_slice, generation);
  }
}

// --- Changing ----------------------------------------------------------------------------------

bool ClusterMap::has_table(GuestOffset guest_offset) {
  const SharedLock lock(mutex_);
  return table_for(guest_offset) != 0;
}

void ClusterMap::install_table(GuestOffset guest_offset, HostOffset new_table) {
  // Whole, so that the file has it all before anything points at it.
  storage_.write_zeroes(new_table.value, geometry_.l2_table_bytes(), {});

  Buffer slice(slice_bytes_);
  std::memset(slice.data(), 0, slice.size());
  const ExclusiveLock lock(mutex_);
  const std::uint64_t index = geometry_.l1_index(guest_offset);
  assert(tables_.l1()[index] == 0);
  tables_.link(index, new_table.value,
               {.host_offset = new_table,
                .slice_host_offset = slice_offset(new_table.value, guest_offset),
                .slice = std::move(slice),
                .is_dirty = false});
}

void ClusterMap::replace_entries(GuestOffset first_cluster, std::span<const std::uint64_t> entries,
                                 std::size_t& replaced) {
  replaced = 0;
  while (replaced < entries.size()) {
    std::uint64_t slice_at = 0;
    std::uint64_t generation = 0;
    {
      const ExclusiveLock lock(mutex_);
      const GuestOffset at = first_cluster + replaced * geometry_.cluster_size();
      const std::uint64_t table = table_for(at);
      assert(table != 0);
      slice_at = slice_offset(table, at);
      if (MetadataCache::Slice* slice = tables_.find(slice_at)) {
        tables_.mark_dirty(*slice);
        for (std::uint64_t i = index_in_slice(at);
             i < entries_per_slice() && replaced < entries.size(); ++i) {
          store_big_endian(slice->data() + i * 8, entries[replaced++]);
        }
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

}  // namespace qcowkit::qcow1
