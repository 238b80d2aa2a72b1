#include "formats/qcow1/metadata.h"

#include <algorithm>

#include "formats/qcow1/limits.h"

namespace qcowkit::qcow1 {

namespace {

/// Holds the L2 tables of 16 GiB at the usual cluster size of 4 KiB.
constexpr std::uint64_t kL2CacheBytesDefault = 32u << 20;

std::uint64_t cache_bytes(const Header& header, std::uint64_t wanted) {
  if (wanted == 0) wanted = kL2CacheBytesDefault;
  // No more than all tables have.
  return std::min(wanted, header.l1_entries() * header.geometry().l2_table_bytes());
}

/// What ends in the middle of a cluster may have been cut off there.
std::uint64_t file_end(const Storage& storage, const Header& header) {
  return align_up(storage.size(), header.geometry().cluster_size());
}

std::uint64_t file_limit(const Storage& storage) {
  return storage.can_grow() ? kFileEnd - 1 : storage.size();
}

}  // namespace

Metadata::Metadata(Storage& storage, const Header& header, std::uint64_t l2_cache_bytes)
    : storage_(storage),
      header_(header),
      map_(storage, header, cache_bytes(header, l2_cache_bytes)),
      space_(file_end(storage, header), file_limit(storage)) {}

// --- Allocation --------------------------------------------------------------------------------

void Metadata::before_change() {
  if (map_.wants_write_back()) write_back(Durability::ordered);
}

HostSpace::Range Metadata::allocate(std::uint64_t clusters) {
  const std::uint64_t cluster_size = geometry().cluster_size();
  storage_.raise(Event::cluster_alloc, 0, clusters * cluster_size);
  return space_.allocate(clusters * cluster_size, cluster_size, kFileEnd - 1);
}

HostOffset Metadata::allocate_bytes(std::uint64_t bytes) {
  storage_.raise(Event::cluster_alloc_bytes, 0, bytes);
  return space_.allocate(bytes, 1, L2Mapping::compressed_offset_end(geometry())).host_offset;
}

void Metadata::release(HostOffset host_offset, std::uint64_t bytes) noexcept {
  space_.release(host_offset, bytes);
}

void Metadata::make_table(GuestOffset guest_offset) {
  if (map_.has_table(guest_offset)) return;
  const MutexLock lock(table_mutex_);
  if (map_.has_table(guest_offset)) return;
  const std::uint64_t bytes = geometry().l2_table_bytes();
  const HostOffset table =
      space_.allocate(bytes, geometry().cluster_size(), kFileEnd - 1).host_offset;
  try {
    map_.install_table(guest_offset, table);
  } catch (...) {
    release(table, bytes);
    throw;
  }
}

// --- Write-back --------------------------------------------------------------------------------

void Metadata::barrier() {
  failure_.guard([this] { storage_.flush(); });
}

void Metadata::flush() {
  storage_.raise(Event::flush_to_os);
  write_back(Durability::durable);
}

void Metadata::write_back(Durability durability) {
  const MutexLock lock(write_back_mutex_);
  ClusterMap::Dirty dirty = map_.begin_write();
  try {
    write_in_order(dirty, durability);
    dirty.stage = ClusterMap::Dirty::Stage::done;
  } catch (...) {
    map_.end_write(dirty);
    throw;
  }
  map_.end_write(dirty);
}

void Metadata::write_in_order(ClusterMap::Dirty& dirty, Durability durability) {
  dirty.unlinked.write_to(storage_);
  if (!dirty.linked.empty()) {
    // Rules 1 and 2: data and new tables are durable before anything points at them.
    barrier();
    dirty.stage = ClusterMap::Dirty::Stage::tables_durable;
    dirty.linked.write_to(storage_);
  }
  if (durability == Durability::durable) {
    barrier();
    storage_.raise(Event::flush_to_disk);
  }
}

// --- The whole image ---------------------------------------------------------------------------

void Metadata::unlink_all() {
  const MutexLock lock(write_back_mutex_);
  try {
    storage_.write_zeroes(header_.l1_table_offset.value, header_.l1_table_bytes(), {});
    barrier();
  } catch (const Error& error) {
    // Some of the table may be gone: what the disk has counts from now on.
    try {
      map_.reload();
    } catch (const Error&) {
      failure_.note(error);
    }
    throw;
  }
  map_.forget_all();
}

void Metadata::cut_off() {
  const MutexLock lock(write_back_mutex_);
  if (!storage_.can_grow()) return;
  storage_.resize(header_.l1_table_end().value, Preallocation::off);
  barrier();
  space_.reset(header_.l1_table_end().value);
}

void Metadata::reload() {
  const MutexLock lock(write_back_mutex_);
  map_.reload();
  space_.reset(file_end(storage_, header_));
}

}  // namespace qcowkit::qcow1
