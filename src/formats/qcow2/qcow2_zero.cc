// Making ranges read as zeroes, and giving clusters back.
#include <algorithm>

#include "base/zeroes.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

void Qcow2Layer::write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                              bool may_unmap) {
  change_disk(guest_offset, length_bytes,
              [&] { write_zeroes_inside(guest_offset, length_bytes, {.may_unmap = may_unmap}); });
}

bool Qcow2Layer::try_write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                                  bool may_unmap) {
  require_writable();
  require_readable();
  if (!is_zeroed_by_entries(guest_offset, length_bytes)) return false;
  bool done = false;
  change_disk(guest_offset, length_bytes, [&] {
    done = write_zeroes_inside(guest_offset, length_bytes,
                               {.may_unmap = may_unmap, .no_fallback = true});
  });
  return done;
}

/// True if L2 entries suffice to make the range read as zeroes. Somebody else's write may change
/// that at once; zeroes are written then.
bool Qcow2Layer::is_zeroed_by_entries(GuestOffset guest_offset, std::uint64_t length_bytes) {
  if (!can_say_zero()) return false;
  const std::uint64_t unit = geometry_.subcluster_size();
  const GuestOffset end = zeroed_end(guest_offset + length_bytes, {virtual_size()});
  const GuestOffset first_unit{align_down(guest_offset.value, unit)};
  const GuestOffset last_unit{align_down(end.value, unit)};
  if (first_unit < guest_offset && !is_known_zero(first_unit, unit)) return false;
  if (last_unit < end && !is_known_zero(last_unit, unit)) return false;
  // Subclusters of a compressed cluster cannot be zeroed alone.
  const auto splits_compressed = [this](GuestOffset at) {
    return geometry_.in_cluster(at.value) != 0 && at.value < virtual_size() &&
           map(at, 1).kind == ExtentKind::compressed;
  };
  return !splits_compressed(guest_offset) && !splits_compressed(end);
}

/// False, with nothing done, only under `no_fallback` where buffers of zeroes would be written to
/// the data file.
bool Qcow2Layer::write_zeroes_inside(GuestOffset guest_offset, std::uint64_t length_bytes,
                                     ZeroOptions options) {
  if (length_bytes == 0) return true;
  const GuestOffset disk_end{virtual_size()};
  const GuestOffset end = zeroed_end(guest_offset + length_bytes, disk_end);
  if (data_file_raw_) {
    // It has to read as the guest does. What is written to it below covers the rest.
    const std::uint64_t unit = geometry_.subcluster_size();
    const std::uint64_t data_begin = align_up(guest_offset.value, unit);
    const std::uint64_t data_end = std::min(align_down(end.value, unit), disk_end.value);
    if (data_begin < data_end &&
        !data_file_->write_zeroes(data_begin, data_end - data_begin, options)) {
      return false;
    }
  }
  zero_range(guest_offset, end, options.may_unmap, disk_end);
  return true;
}

void Qcow2Layer::discard(GuestOffset guest_offset, std::uint64_t length_bytes) {
  change_disk(guest_offset, length_bytes, [&] { discard_inside(guest_offset, length_bytes); });
}

void Qcow2Layer::discard_inside(GuestOffset guest_offset, std::uint64_t length_bytes) {
  const GuestOffset request_end = guest_offset + length_bytes;
  const GuestOffset begin = cluster_end(guest_offset);
  const GuestOffset end =
      request_end.value == virtual_size() ? cluster_end(request_end) : cluster_start(request_end);
  // Without a zero flag the backing file's old content would come back: then nothing is discarded.
  if (begin >= end || (has_backing_name_ && !can_say_zero())) return;
  if (data_file_raw_) {
    // The data file has to read as the guest does.
    write_zeroes_inside(begin, std::min(end.value, virtual_size()) - begin.value,
                        {.may_unmap = true});
    return;
  }
  change_entries(begin, end, FreedBy::request,
                 [&](const L2Mapping& old, GuestOffset, std::uint32_t) -> std::optional<L2Mapping> {
                   const bool is_stored =
                       old.kind == L2Mapping::Kind::compressed || old.has_host_cluster;
                   // What was never stored may stay so, unless a backing file would show.
                   if (!is_stored && !has_backing_name_) return std::nullopt;
                   L2Mapping mapping;
                   if (can_say_zero()) mapping.zero = geometry_.all_subclusters();
                   return mapping;
                 });
}

/// Rewrites entries of the clusters in a range (whose ends are multiples of the subcluster size)
/// and frees the host clusters that are not referenced any more.
void Qcow2Layer::change_entries(GuestOffset begin, GuestOffset end, FreedBy by,
                                const EntryChange& change) {
  while (begin < end) {
    const GuestOffset part_end = begin + std::min(end - begin, left_in_table(begin));
    const GuestRangeLock::Holder range(ranges_, cluster_start(begin), cluster_end(part_end));
    const GuestOffset first_cluster = cluster_start(begin);
    std::vector<RawL2Entry> old_entries((cluster_end(part_end) - first_cluster) /
                                        geometry_.cluster_size());
    metadata_.map().read_entries(first_cluster, old_entries);
    std::vector<RawL2Entry> entries = old_entries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const GuestOffset cluster = first_cluster + i * geometry_.cluster_size();
      const std::uint32_t touched = subclusters_in(cluster, begin, part_end);
      if (const auto changed = change(decode(old_entries[i], cluster), cluster, touched)) {
        entries[i] = changed->encode(metadata_.map().rules());
      }
    }
    if (entries != old_entries) {
      metadata_.own_table(first_cluster);
      std::size_t replaced = 0;
      metadata_.map().replace_entries(first_cluster, entries, replaced);
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (entries[i] == old_entries[i]) continue;
        const GuestOffset cluster = first_cluster + i * geometry_.cluster_size();
        const L2Mapping now = decode(entries[i], cluster);
        const L2Mapping old = decode(old_entries[i], cluster);
        const bool had_host = old.kind == L2Mapping::Kind::compressed || old.has_host_cluster;
        if (!had_host || now.has_host_cluster) continue;
        free_old(old_entries[i], cluster, by);
        if (data_file_ && metadata_.passes_discards(by))
          data_file_->discard(old.host_offset.value, geometry_.cluster_size());
      }
    }
    begin = part_end;
  }
}

/// True if all that is in a subcluster, of which L2 entries can say that it is zero, reads as
/// zeroes and is stored nowhere in this layer. The range's lock keeps it so.
bool Qcow2Layer::is_zero_and_unstored(const L2Mapping& mapping, GuestOffset subcluster) {
  const std::uint32_t bit = subclusters_in(cluster_start(subcluster), subcluster, subcluster + 1);
  if (mapping.kind == L2Mapping::Kind::compressed || (mapping.allocated & bit) != 0) return false;
  return (mapping.zero & bit) != 0 || backing() == nullptr ||
         backing()->is_known_zero(subcluster, geometry_.subcluster_size());
}

/// Zeroes a range by its entries, and with data where they cannot say it. What lies behind
/// `disk_end` need not be zeroed.
void Qcow2Layer::zero_range(GuestOffset begin, GuestOffset end, bool may_unmap,
                            GuestOffset disk_end) {
  const std::uint64_t unit = geometry_.subcluster_size();
  const GuestOffset first_unit{align_down(begin.value, unit)};
  const GuestOffset last_unit{align_down(end.value, unit)};
  // What entries cannot say has to be written; after the entries, since that takes the same locks.
  std::vector<std::pair<GuestOffset, GuestOffset>> to_write;
  const auto write_later = [&](GuestOffset from, GuestOffset to) {
    from = std::max(from, begin);
    to = std::min({to, end, disk_end});
    if (from < to) to_write.emplace_back(from, to);
  };
  const auto change = [&](const L2Mapping& old, GuestOffset cluster,
                          std::uint32_t touched) -> std::optional<L2Mapping> {
    // A unit that is touched in part becomes zero as a whole if it reads so already.
    const auto leave_unless_zero = [&](GuestOffset partial) {
      if (cluster_start(partial) != cluster || is_zero_and_unstored(old, partial)) return;
      touched &= ~subclusters_in(cluster, partial, partial + 1);
      write_later(partial, partial + unit);
    };
    if (first_unit < begin) leave_unless_zero(first_unit);
    if (last_unit < end && (last_unit != first_unit || first_unit == begin)) {
      leave_unless_zero(last_unit);
    }
    if (touched == 0) return std::nullopt;
    const bool whole = touched == geometry_.all_subclusters();
    const bool is_compressed = old.kind == L2Mapping::Kind::compressed;
    // Where entries cannot say zero, a cluster that stays would have to be overwritten.
    const bool can_drop = (may_unmap || !can_say_zero()) && !has_backing_name_ && whole;
    const bool is_stored = old.has_host_cluster || is_compressed;
    if ((!can_say_zero() && !can_drop && (is_stored || has_backing_name_)) ||
        (is_compressed && !whole)) {
      write_later(cluster, cluster + geometry_.cluster_size());
      return std::nullopt;
    }
    return zeroed(old, touched, may_unmap);
  };
  change_entries(first_unit, {align_up(end.value, unit)},
                 may_unmap ? FreedBy::request : FreedBy::other, change);
  for (const auto& [from, to] : to_write) write_zero_bytes(from, to - from);
}

/// The mapping after `subclusters` have been zeroed; nothing if it stays.
std::optional<L2Mapping> Qcow2Layer::zeroed(const L2Mapping& old, std::uint32_t subclusters,
                                            bool may_unmap) const {
  L2Mapping mapping = old;
  if (old.kind == L2Mapping::Kind::compressed) mapping = L2Mapping{};
  const bool has_data =
      old.kind == L2Mapping::Kind::compressed || (old.allocated & subclusters) != 0;
  // Unallocated without a backing file is zero already, but would not stay so over one.
  if (!has_data && !has_backing_name_ && !can_say_zero()) return std::nullopt;

  mapping.allocated &= ~subclusters;
  if (can_say_zero()) mapping.zero |= subclusters;
  const bool may_keep_host = can_say_zero() && !may_unmap;
  const bool keeps_host =
      mapping.allocated != 0 || (may_keep_host && mapping.has_host_cluster && mapping.copied);
  if (!keeps_host) {
    mapping.has_host_cluster = false;
    mapping.copied = false;
    mapping.host_offset = {};
  }
  return mapping;
}

/// Writes zeroes as data.
void Qcow2Layer::write_zero_bytes(GuestOffset guest_offset, std::uint64_t length_bytes) {
  while (length_bytes > 0) {
    {
      const EpochPin pin(metadata_.epochs());
      const ClusterMap::InPlaceRun run = metadata_.map().find_in_place(guest_offset, length_bytes);
      if (run.length_bytes != 0) {
        write_zero_data(guest_offset, run.host_offset, run.length_bytes);
        guest_offset += run.length_bytes;
        length_bytes -= run.length_bytes;
        continue;
      }
    }
    const std::uint64_t part = std::min<std::uint64_t>(length_bytes, kZeroBytes);
    write_inside(guest_offset, zeroes().first(part));
    guest_offset += part;
    length_bytes -= part;
  }
}

}  // namespace qcowkit::qcow2
