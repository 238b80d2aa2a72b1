// How changed metadata comes to the disk, in the order that README.md prescribes.
#include "formats/qcow2/metadata.h"

namespace qcowkit::qcow2 {

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
