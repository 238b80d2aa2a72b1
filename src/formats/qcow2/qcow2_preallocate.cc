// Growing the disk by clusters that have a place in the file from the start.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/zeroes.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

namespace {

/// So many bytes of L2 tables are made at once, and written with one request.
constexpr std::uint64_t kTableBytesAtOnce = 2u << 20;
static_assert(kTableBytesAtOnce >= std::uint64_t{1} << kClusterBitsMax);

void write_buffers_of_zeroes(Storage& storage, HostOffset host_offset, std::uint64_t bytes) {
  while (bytes > 0) {
    const std::uint64_t part = std::min<std::uint64_t>(bytes, kZeroBytes);
    storage.write(host_offset.value, zeroes().first(part));
    host_offset += part;
    bytes -= part;
  }
}

/// Makes a part of a storage zeroes that are as real as `preallocation` wants them.
void store_zeroes(Storage& storage, HostOffset host_offset, std::uint64_t bytes,
                  Preallocation preallocation) {
  if (preallocation == Preallocation::full) {
    write_buffers_of_zeroes(storage, host_offset, bytes);
  } else {
    storage.write_zeroes(host_offset.value, bytes,
                         {.may_unmap = preallocation == Preallocation::metadata});
  }
}

}  // namespace

/// Gives all clusters of the range, which lies behind the disk's end, a place of their own that
/// reads as zeroes.
void Qcow2Layer::preallocate(GuestOffset begin, GuestOffset end, Preallocation preallocation) {
  begin = cluster_end(begin);
  if (begin >= end) return;
  if (uses_data_file()) grow_data_file(begin, end, preallocation);
  const std::uint64_t tables_at_once = kTableBytesAtOnce / geometry_.cluster_size();
  while (begin < end) {
    const std::uint64_t tables_wanted = std::min(
        tables_at_once, geometry_.l1_index({end.value - 1}) - geometry_.l1_index(begin) + 1);
    const std::uint64_t tables_missing =
        metadata_.map().entries_without_table(begin, tables_wanted);
    if (tables_missing != 0) {
      begin =
          reclaiming([&] { return preallocate_tables(begin, end, tables_missing, preallocation); });
    } else {
      begin = preallocate_in_table(begin, end, preallocation);
    }
  }
  // Clusters that were only mapped are part of the file all the same.
  const HostOffset used_end = metadata_.refcounts().end_of_used_clusters();
  if (!uses_data_file() && storage_->can_grow() && storage_->size() < used_end.value) {
    storage_->resize(used_end.value, Preallocation::off);
  }
}

/// What a data file holds behind the disk's end belongs to nobody.
void Qcow2Layer::grow_data_file(GuestOffset begin, GuestOffset end, Preallocation preallocation) {
  const std::uint64_t old_end = std::min(data_file_->size(), end.value);
  if (begin.value < old_end) {
    store_zeroes(*data_file_, {begin.value}, old_end - begin.value, preallocation);
  }
  if (old_end < end.value) data_file_->resize(end.value, preallocation);
}

/// Makes up to `tables_max` L2 tables for the L1 entries from that of `begin` on, which have none,
/// and all that they refer to between `begin` and `end`. Returns how far they reach.
GuestOffset Qcow2Layer::preallocate_tables(GuestOffset begin, GuestOffset end,
                                           std::uint64_t tables_max, Preallocation preallocation) {
  const std::uint64_t cluster_size = geometry_.cluster_size();
  const HostRun tables = metadata_.allocate(tables_max);
  std::vector<Reservation> reservations;
  reservations.emplace_back(metadata_, tables.host_offset, tables.clusters * cluster_size);
  const GuestOffset first{align_down(begin.value, geometry_.l1_entry_covers())};
  end = std::min(end, first + tables.clusters * geometry_.l1_entry_covers());

  Buffer bytes(tables.clusters * cluster_size);
  std::ranges::fill(bytes.span(), std::byte{0});
  for (GuestOffset at = begin; at < end;) {
    HostRun run{{at.value}, geometry_.clusters_for(end - at), true};
    if (!uses_data_file()) {
      run = metadata_.allocate(run.clusters);
      reservations.emplace_back(metadata_, run.host_offset, run.clusters * cluster_size);
    }
    const GuestOffset run_end = std::min(end, at + run.clusters * cluster_size);
    provide_zeroes(at, run.host_offset, run_end - at, run.reads_as_zero, preallocation);
    fill_entries(bytes.data(), (at - first) >> geometry_.cluster_bits(), run.host_offset,
                 run_end - at);
    at = run_end;
  }
  storage_->raise(Event::l2_alloc_write, tables.host_offset.value, bytes.size());
  storage_->write(tables.host_offset.value, bytes.span());
  metadata_.map().link_tables(begin, tables.host_offset, tables.clusters);
  for (Reservation& reservation : reservations) reservation.commit_all();
  return end;
}

/// The same for a part of the range that has an L2 table already. Returns how far it got.
GuestOffset Qcow2Layer::preallocate_in_table(GuestOffset begin, GuestOffset end,
                                             Preallocation preallocation) {
  const GuestOffset part_end = begin + std::min(end - begin, left_in_table(begin));
  const std::uint64_t done = allocate_and_move(
      begin, part_end, [&](const WritePlan& plan, GuestOffset run_begin, GuestOffset run_end) {
        provide_zeroes(run_begin, plan.host_of(run_begin), run_end - run_begin,
                       uses_data_file() || plan.reads_as_zero, preallocation);
      });
  return begin + (done != 0 ? done : std::min(geometry_.cluster_size(), part_end - begin));
}

/// Writes the L2 entries of so many bytes of the disk, which lie at `host_offset` and behind, into
/// tables that lie side by side. `index` is that of the first.
void Qcow2Layer::fill_entries(std::byte* tables, std::uint64_t index, HostOffset host_offset,
                              std::uint64_t length_bytes) const {
  const std::uint64_t cluster_size = geometry_.cluster_size();
  L2Mapping mapping;
  mapping.copied = true;
  mapping.has_host_cluster = true;
  mapping.host_offset = host_offset;
  mapping.allocated = geometry_.all_subclusters();
  RawL2Entry entry = mapping.encode(metadata_.map().rules());
  for (; length_bytes >= cluster_size; length_bytes -= cluster_size) {
    entry.store(tables, index++, geometry_);
    entry.descriptor += cluster_size;
    mapping.host_offset += cluster_size;
  }
  if (length_bytes == 0) return;
  mapping.allocated = subclusters_in({0}, {0}, {length_bytes});
  mapping.encode(metadata_.map().rules()).store(tables, index, geometry_);
}

/// Makes clusters read as zeroes to the guest. `reads_as_zero`: so does the storage there already.
void Qcow2Layer::provide_zeroes(GuestOffset guest_offset, HostOffset host_offset,
                                std::uint64_t length_bytes, bool reads_as_zero,
                                Preallocation preallocation) {
  length_bytes = align_up(length_bytes, geometry_.subcluster_size());
  if (is_encrypted()) {
    write_zero_data(guest_offset, host_offset, length_bytes);
  } else if (!uses_data_file() && (!reads_as_zero || preallocation != Preallocation::metadata)) {
    store_zeroes(data_storage(), host_offset, length_bytes, preallocation);
  }
}

}  // namespace qcowkit::qcow2
