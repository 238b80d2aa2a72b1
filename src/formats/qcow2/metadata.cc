#include "formats/qcow2/metadata.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/header_writer.h"
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

// --- Header ------------------------------------------------------------------------------------

/// Nobody knows which header the disk has, and so which clusters it refers to.
void Metadata::lose_header(const Error& error) {
  failure_.note(error);
  is_header_lost_ = true;
}

/// Changes the header on the disk, durably, and in memory. If it throws, neither has changed; where
/// that cannot be said of the disk, all further changes are refused.
void Metadata::update_header(const std::function<void(Header&)>& change, Tables tables) {
  Header changed = header_;
  change(changed);
  OverlapGuard::Places places;
  if (tables == Tables::move) places = guard_.read_places(storage_, changed);
  try {
    write_header(storage_, header_, changed, [this] { barrier(); });
    barrier();
  } catch (const UnknownHeader& error) {
    lose_header(error);
    throw;
  } catch (const Error&) {
    if (const std::optional<Error> failed_flush = failure()) lose_header(*failed_flush);
    throw;
  }
  header_ = std::move(changed);
  if (tables == Tables::move) guard_.set_places(std::move(places));
}

void Metadata::change_header(const std::function<void(Header&)>& change) {
  // What the new header refers to is durable first.
  flush();
  const MutexLock lock(header_mutex_);
  update_header(change, Tables::move);
  const bool was_lazy = is_lazy();
  note_laziness(header_);
  // From now on, changes need the dirty bit.
  if (is_lazy() && !was_lazy) header_prepared_ = false;
}

void Metadata::set_unclean() {
  const MutexLock lock(header_mutex_);
  if (header_.version >= 3 && !header_.has(incompatible::kDirty)) {
    update_header([](Header& header) { header.incompatible_features |= incompatible::kDirty; });
  }
  ++unclean_;
}

void Metadata::set_unclean(Header& header) {
  ++unclean_;
  if (header.version >= 3) header.incompatible_features |= incompatible::kDirty;
}

void Metadata::set_clean(Header& header) {
  --unclean_;
  if (!is_lazy() && unclean_ == 0) header.incompatible_features &= ~incompatible::kDirty;
}

void Metadata::trim_storage() {
  if (!storage_.can_grow()) return;
  const std::uint64_t end = refcounts_.end_of_used_clusters().value;
  if (end >= storage_.size()) return;
  storage_.resize(end, Preallocation::off);
  refcounts_.note_storage_size(end);
}

void Metadata::mark_corrupt() noexcept {
  try {
    const MutexLock lock(header_mutex_);
    is_corrupt_ = true;
    if (header_.version < 3 || header_.has(incompatible::kCorrupt)) return;
    update_header([](Header& header) { header.incompatible_features |= incompatible::kCorrupt; });
  } catch (const std::exception&) {
    // The error that told of the damage is on its way to the caller, and matters more.
  }
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

void Metadata::before_change() {
  if (is_corrupt()) {
    throw Error(Errc::corrupt,
                "the image has been found to be corrupt and is not written to any more; check and "
                "repair it first");
  }
  if (is_header_lost_.load(std::memory_order_relaxed)) throw *failure();
  if (!header_prepared_.load(std::memory_order_acquire)) prepare_header();
  if (map_.wants_write_back()) write_back(Durability::ordered);
}

void Metadata::prepare_header() {
  const MutexLock lock(header_mutex_);
  if (header_prepared_.load(std::memory_order_relaxed)) return;
  // Of what other bits stand for, nothing is known: it ends here.
  const std::uint64_t keep =
      autoclear::kDataFileRaw | (header_.bitmaps ? autoclear::kBitmaps : std::uint64_t{0});
  const bool clear_autoclear = (header_.autoclear_features & ~keep) != 0;
  const bool set_dirty = is_lazy() && !header_.has(incompatible::kDirty);
  if (clear_autoclear || set_dirty) {
    update_header([&](Header& header) {
      header.autoclear_features &= keep;
      if (set_dirty) header.incompatible_features |= incompatible::kDirty;
    });
  }
  header_prepared_.store(true, std::memory_order_release);
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

// --- Write-back --------------------------------------------------------------------------------

void Metadata::barrier() {
  failure_.guard([this] {
    if (data_file_ != nullptr) data_file_->flush();
    storage_.flush();
  });
}

void Metadata::flush() {
  storage_.raise(Event::flush_to_os);
  write_back(Durability::durable);
  clean_caches();
}

void Metadata::write_back(Durability durability) {
  const MutexLock lock(write_back_mutex_);
  write_back_locked(durability);
}

void Metadata::write_back_locked(Durability durability) {
  // The order of these three matters (rule 6): frees taken first were unlinked in the map copied
  // second, and all that map refers to is counted in the blocks copied third.
  std::vector<Refcounts::DeferredFree> frees = refcounts_.take_deferred_frees();
  std::optional<ClusterMap::Dirty> map;
  std::optional<Refcounts::Dirty> refcounts;
  try {
    map = map_.begin_write();
    if (!is_lazy()) refcounts = refcounts_.begin_write();
    write_in_order(*map, refcounts ? &*refcounts : nullptr, durability);
    map->stage = ClusterMap::Dirty::Stage::done;
  } catch (...) {
    if (map) map_.end_write(*map);
    if (refcounts) refcounts_.end_write(*refcounts, false);
    refcounts_.return_deferred_frees(std::move(frees));
    throw;
  }
  map_.end_write(*map);
  if (refcounts) refcounts_.end_write(*refcounts, true);
  if (durability == Durability::durable) {
    reclaim(std::move(frees));
  } else {
    refcounts_.return_deferred_frees(std::move(frees));
  }
}

void Metadata::write_in_order(ClusterMap::Dirty& map, Refcounts::Dirty* refcounts,
                              Durability durability) {
  // Rule 3: a refcount block is durable before the refcount table points at it.
  if (refcounts != nullptr) {
    refcounts->blocks.write_to(storage_);
    if (!refcounts->table.empty()) {
      barrier();
      refcounts->table.write_to(storage_);
    }
  }
  // Rule 4: nothing points at these tables yet, so they need no order of their own.
  map.unlinked.write_to(storage_);
  if (!map.linked.empty()) {
    // Rules 1 and 2: data, refcounts and new tables are durable before anything points at them.
    barrier();
    map.stage = ClusterMap::Dirty::Stage::tables_durable;
    map.linked.write_to(storage_);
  }
  if (durability == Durability::durable) {
    barrier();
    storage_.raise(Event::flush_to_disk);
  }
}

void Metadata::reclaim(std::vector<Refcounts::DeferredFree> frees) {
  if (frees.empty() && !refcounts_.has_waiting_frees()) return;
  refcounts_.reclaim(std::move(frees), epochs_, [this](const FreedRun& run) {
    const std::uint64_t bytes = run.clusters * geometry().cluster_size();
    if (on_free_) on_free_(run.host_offset, bytes);
    if (!passes_discards(run.by)) return;
    try {
      storage_.discard(run.host_offset.value, bytes);
    } catch (const Error&) {
      // A hint: the clusters are free all the same, and their space is used again.
    }
  });
}

void Metadata::close() {
  const MutexLock lock(write_back_mutex_);
  // The first round frees what was unlinked, the second writes the lowered refcounts.
  write_back_locked(Durability::durable);
  Refcounts::Dirty rest = refcounts_.begin_write();
  bool succeeded = false;
  try {
    rest.blocks.write_to(storage_);
    if (!rest.table.empty()) {
      barrier();
      rest.table.write_to(storage_);
    }
    succeeded = true;
  } catch (...) {
    refcounts_.end_write(rest, false);
    throw;
  }
  const bool wrote = !rest.slices.empty() || !rest.new_blocks.empty();
  refcounts_.end_write(rest, succeeded);
  if (wrote) barrier();
  const MutexLock header_lock(header_mutex_);
  if (is_lazy() && header_prepared_ && unclean_ == 0 && header_.has(incompatible::kDirty)) {
    update_header([](Header& header) { header.incompatible_features &= ~incompatible::kDirty; });
    header_prepared_ = false;
  }
}

}  // namespace qcowkit::qcow2
