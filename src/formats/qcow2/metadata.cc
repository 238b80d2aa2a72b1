#include "formats/qcow2/metadata.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

namespace {

// The reference's default: 32 MiB hold the L2 tables of 256 GiB at 64 KiB clusters.
constexpr std::uint64_t kL2CacheBytesDefault = 32u << 20;
constexpr std::uint64_t kRefcountCacheBytesDefault = 1u << 20;

std::uint64_t l2_cache_bytes(const Header& header, const MetadataOptions& options) {
  const Geometry g = header.geometry();
  const std::uint64_t wanted =
      options.l2_cache_bytes != 0 ? options.l2_cache_bytes : kL2CacheBytesDefault;
  const std::uint64_t whole_disk = g.clusters_for(header.size) << g.l2_entry_bits();
  return std::min(wanted, align_up(whole_disk, g.cluster_size()));
}

}  // namespace

Metadata::Metadata(Storage& storage, Storage* data_file, const Header& header,
                   const MetadataOptions& options)
    : storage_(storage),
      data_file_(data_file),
      discard_pass_through_(options.discard_pass_through),
      lazy_option_(options.lazy_refcounts),
      read_only_(options.read_only),
      cache_clean_interval_(options.cache_clean_interval_seconds),
      guard_(options.overlap_checks),
      map_(storage, data_file != nullptr ? data_file : &storage, guard_,
           L2Rules{header.geometry(), header.version >= 3 && !header.geometry().extended_l2(),
                   header.has(incompatible::kDataFile)},
           l2_cache_bytes(header, options), options.l2_cache_entry_bytes),
      refcounts_(storage, guard_, header.geometry(),
                 options.refcount_cache_bytes != 0 ? options.refcount_cache_bytes
                                                   : kRefcountCacheBytesDefault) {
  reload(header);
}

void Metadata::reload(const Header& header) {
  {
    const MutexLock lock(header_mutex_);
    header_ = header;
  }
  note_laziness(header);
  guard_.load(storage_, header);
  map_.load(header);
  storage_.raise(Event::reftable_load, header.refcount_table_offset.value,
                 header.refcount_table_clusters * header.geometry().cluster_size());
  if (!read_only_) refcounts_.load(header);
  header_prepared_ = false;
  unclean_ = 0;
  is_corrupt_ = false;
}

void Metadata::note_laziness(const Header& header) {
  lazy_refcounts_ = header.version >= 3 && lazy_option_.value_or(header.lazy_refcounts());
}

void Metadata::clean_caches_if_due() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  auto due = next_clean_.load(std::memory_order_relaxed);
  if (now.count() < due) return;
  // One of those who see that it is time does it.
  const auto next = std::chrono::steady_clock::duration(now + cache_clean_interval_).count();
  if (!next_clean_.compare_exchange_strong(due, next, std::memory_order_relaxed)) return;
  map_.drop_unused();
  refcounts_.drop_unused();
}

Header Metadata::header() const {
  const MutexLock lock(header_mutex_);
  return header_;
}

// --- Tables ------------------------------------------------------------------------------------

void Metadata::trim_storage() {
  if (!storage_.can_grow()) return;
  const std::uint64_t end = refcounts_.end_of_used_clusters().value;
  if (end >= storage_.size()) return;
  storage_.resize(end, Preallocation::off);
  refcounts_.note_storage_size(end);
}

void Metadata::require_tables_apart(std::span<const std::uint64_t> l1_entries) const {
  for (std::size_t i = 0; i < l1_entries.size(); ++i) {
    const L1Entry entry(l1_entries[i]);
    if (!entry.has_table()) continue;
    const char* structure = guard_.hit(entry.l2_table(), geometry().cluster_size(),
                                       overlap::kActiveL2 | overlap::kInactiveL2);
    if (structure == nullptr) continue;
    throw CorruptImage(storage_, fmt::format("L1 table: entry {} is {:#x}, where the {} lies", i,
                                             entry.raw(), structure));
  }
}

HostOffset Metadata::write_table(std::span<const std::byte> table,
                                 std::optional<Event> before_write) {
  const std::uint64_t cluster_size = geometry().cluster_size();
  const HostRun run =
      allocate_contiguous(std::max<std::uint64_t>(geometry().clusters_for(table.size()), 1));
  try {
    std::vector<std::byte> padded(table.begin(), table.end());
    padded.resize(run.clusters * cluster_size);
    if (before_write) storage_.raise(*before_write, run.host_offset.value, padded.size());
    storage_.write(run.host_offset.value, padded);
  } catch (...) {
    release(run.host_offset, run.clusters * cluster_size);
    throw;
  }
  return run.host_offset;
}

void Metadata::rewrite_l1_table(std::vector<std::uint64_t> l1_table) {
  const std::vector<be64> raw(l1_table.begin(), l1_table.end());
  const Header present = header();
  storage_.raise(Event::l1_update, present.l1_table_offset.value, raw.size() * sizeof(be64));
  storage_.write(present.l1_table_offset.value, std::as_bytes(std::span(raw)));
  map_.adopt(std::move(l1_table), present);
}

void Metadata::replace_l1_table(std::vector<std::uint64_t> l1_table, bool keep_old,
                                const std::function<void(Header&)>& change, L1Change kind) {
  const Header old = header();
  const std::vector<be64> raw(l1_table.begin(), l1_table.end());
  // A table without entries needs no place.
  std::optional<Event> before_write;
  if (kind == L1Change::grow) {
    storage_.raise(Event::l1_grow_alloc_table, 0, raw.size() * sizeof(be64));
    before_write = Event::l1_grow_write_table;
  } else if (kind == L1Change::shrink) {
    before_write = Event::l1_shrink_write_table;
  }
  const HostOffset place =
      raw.empty() ? HostOffset{} : write_table(std::as_bytes(std::span(raw)), before_write);
  if (kind == L1Change::grow) storage_.raise(Event::l1_grow_activate_table, place.value);
  change_header([&](Header& header) {
    header.l1_table_offset = place;
    header.l1_size = static_cast<std::uint32_t>(l1_table.size());
    change(header);
  });
  map_.adopt(std::move(l1_table), header());
  if (!keep_old && old.l1_size != 0) {
    defer_free(old.l1_table_offset, std::uint64_t{old.l1_size} * 8);
  }
}

// --- Allocation --------------------------------------------------------------------------------

HostRun Metadata::allocate(std::uint64_t clusters_max) {
  storage_.raise(Event::cluster_alloc, 0, clusters_max * geometry().cluster_size());
  for (;;) {
    if (const std::optional<HostRun> run = refcounts_.allocate(clusters_max)) return *run;
    grow_refcount_table(1);
  }
}

HostRun Metadata::allocate_contiguous(std::uint64_t clusters) {
  storage_.raise(Event::cluster_alloc, 0, clusters * geometry().cluster_size());
  for (;;) {
    if (const std::optional<HostRun> run = refcounts_.allocate_contiguous(clusters)) return *run;
    grow_refcount_table(clusters);
  }
}

HostOffset Metadata::allocate_bytes(std::uint64_t bytes) {
  storage_.raise(Event::cluster_alloc_bytes, 0, bytes);
  for (;;) {
    if (const std::optional<HostOffset> at = refcounts_.allocate_bytes(bytes)) {
      if (at->value + bytes <= L2Mapping::compressed_offset_end(geometry())) return *at;
      refcounts_.release(*at, bytes);
      throw os_error(EFBIG, "allocating room for a compressed cluster");
    }
    grow_refcount_table(1);
  }
}

void Metadata::grow_refcount_table(std::uint64_t contiguous_clusters) {
  storage_.raise(Event::reftable_grow);
  const MutexLock lock(write_back_mutex_);
  refcounts_.grow_table(contiguous_clusters,
                        [this](HostOffset host_offset, std::uint32_t clusters) {
                          storage_.raise(Event::refblock_alloc_switch_table, host_offset.value);
                          const MutexLock header_lock(header_mutex_);
                          update_header([&](Header& header) {
                            header.refcount_table_offset = host_offset;
                            header.refcount_table_clusters = clusters;
                          });
                          storage_.raise(Event::cluster_free);  // those of the old table
                        });
}

void Metadata::change_refcount_width(std::uint32_t refcount_order) {
  {
    const MutexLock lock(write_back_mutex_);
    refcounts_.change_width(refcount_order, [&](HostOffset host_offset, std::uint32_t clusters) {
      barrier();
      const MutexLock header_lock(header_mutex_);
      update_header([&](Header& header) {
        header.refcount_order = refcount_order;
        header.refcount_table_offset = host_offset;
        header.refcount_table_clusters = clusters;
      });
    });
  }
  map_.adopt(map_.l1_table(), header());
}

void Metadata::release(HostOffset host_offset, std::uint64_t bytes) noexcept {
  refcounts_.release(host_offset, bytes);
}

void Metadata::defer_free(HostOffset host_offset, std::uint64_t bytes, FreedBy by) {
  refcounts_.defer_free(host_offset, bytes, by);
}

bool Metadata::passes_discards(FreedBy by) const noexcept {
  switch (by) {
    case FreedBy::request:
      return discard_pass_through_.request;
    case FreedBy::snapshot:
      return discard_pass_through_.snapshot;
    case FreedBy::other:
      break;
  }
  return discard_pass_through_.other;
}

bool Metadata::can_reclaim() const { return refcounts_.has_deferred_frees(); }

void Metadata::own_table(GuestOffset guest_offset) {
  if (map_.has_own_table(guest_offset)) return;
  const MutexLock lock(table_mutex_);
  if (map_.has_own_table(guest_offset)) return;
  const HostRun run = allocate(1);
  try {
    const std::optional<HostOffset> old_table = map_.install_table(guest_offset, run.host_offset);
    if (old_table) defer_free(*old_table, geometry().cluster_size());
  } catch (...) {
    release(run.host_offset, geometry().cluster_size());
    throw;
  }
}

}  // namespace qcowkit::qcow2
