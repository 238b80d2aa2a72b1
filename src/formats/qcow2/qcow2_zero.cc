// Making ranges read as zeroes, and giving clusters back.
#include <algorithm>
#include <array>

#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

namespace {

alignas(4096) constexpr std::array<std::byte, 65536> kZeroes{};

}  // namespace

void Qcow2Layer::write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                              bool may_unmap) {
  change_disk(guest_offset, length_bytes,
              [&] { write_zeroes_inside(guest_offset, length_bytes, may_unmap); });
}

/// What of a range L2 entries can say that it is zero.
Qcow2Layer::WholeUnits Qcow2Layer::zeroed_units(GuestOffset guest_offset,
                                                std::uint64_t length_bytes) const noexcept {
  const GuestOffset end = guest_offset + length_bytes;
  const std::uint64_t unit = geometry_.subcluster_size();
  // What lies behind the disk's end may be zeroed with it.
  return {{align_up(guest_offset.value, unit)},
          {end.value == virtual_size() ? align_up(end.value, unit) : align_down(end.value, unit)}};
}

bool Qcow2Layer::try_write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                                  bool may_unmap) {
  require_writable();
  require_readable();
  if (!is_zeroed_by_entries(guest_offset, length_bytes)) return false;
  write_zeroes(guest_offset, length_bytes, may_unmap);
  return true;
}

/// True if L2 entries suffice to make the range read as zeroes. Somebody else's write may change
/// that at once; zeroes are written then.
bool Qcow2Layer::is_zeroed_by_entries(GuestOffset guest_offset, std::uint64_t length_bytes) {
  const bool can_say_zero = metadata_.map().rules().zero_flag || geometry_.extended_l2();
  if (!can_say_zero || data_file_raw_) return false;
  const GuestOffset end = guest_offset + length_bytes;
  const auto [body_begin, body_end] = zeroed_units(guest_offset, length_bytes);
  const auto is_edge_zero = [this](GuestOffset begin, GuestOffset edge_end) {
    return begin >= edge_end || is_known_zero(begin, edge_end - begin);
  };
  if (body_begin >= body_end) return is_edge_zero(guest_offset, end);
  if (!is_edge_zero(guest_offset, body_begin) || !is_edge_zero(body_end, end)) return false;
  // Subclusters of a compressed cluster cannot be zeroed alone.
  const auto splits_compressed = [this](GuestOffset at) {
    return geometry_.in_cluster(at.value) != 0 && at.value < virtual_size() &&
           map(at, 1).kind == ExtentKind::compressed;
  };
  return !splits_compressed(body_begin) && !splits_compressed(body_end);
}

void Qcow2Layer::write_zeroes_inside(GuestOffset guest_offset, std::uint64_t length_bytes,
                                     bool may_unmap) {
  const GuestOffset end = guest_offset + length_bytes;
  const auto [body_begin, body_end] = zeroed_units(guest_offset, length_bytes);
  const auto zero_edge = [this](GuestOffset begin, GuestOffset edge_end) {
    if (begin < edge_end && !is_known_zero(begin, edge_end - begin)) {
      write_zero_bytes(begin, edge_end - begin);
    }
  };
  if (body_begin >= body_end) {
    zero_edge(guest_offset, end);
    return;
  }
  zero_edge(guest_offset, body_begin);
  zero_subclusters(body_begin, body_end, may_unmap, {virtual_size()});
  zero_edge(body_end, end);
}

void Qcow2Layer::discard(GuestOffset guest_offset, std::uint64_t length_bytes) {
  change_disk(guest_offset, length_bytes, [&] { discard_inside(guest_offset, length_bytes); });
}

void Qcow2Layer::discard_inside(GuestOffset guest_offset, std::uint64_t length_bytes) {
  if (data_file_raw_) {
    // The data file has to read as the guest does.
    write_zeroes_inside(guest_offset, length_bytes, true);
    return;
  }
  const GuestOffset request_end = guest_offset + length_bytes;
  const GuestOffset begin = cluster_end(guest_offset);
  const GuestOffset end =
      request_end.value == virtual_size() ? cluster_end(request_end) : cluster_start(request_end);
  const L2Rules& rules = metadata_.map().rules();
  const bool can_say_zero = rules.zero_flag || geometry_.extended_l2();
  // Without a zero flag the backing file's old content would come back: then nothing is discarded.
  if (begin >= end || (has_backing_name_ && !can_say_zero)) return;
  change_entries(begin, end, FreedBy::request,
                 [&](const L2Mapping& old, GuestOffset, std::uint32_t) -> std::optional<L2Mapping> {
                   const bool has_something = old.kind == L2Mapping::Kind::compressed ||
                                              old.has_host_cluster || old.zero != 0;
                   const std::uint32_t zero = has_backing_name_ ? geometry_.all_subclusters() : 0;
                   if (!has_something && old.zero == zero) return std::nullopt;
                   if (has_something && !old.has_host_cluster && old.zero == zero &&
                       old.kind == L2Mapping::Kind::standard) {
                     return std::nullopt;
                   }
                   L2Mapping mapping;
                   mapping.zero = zero;
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

/// What lies behind `disk_end` need not be zeroed.
void Qcow2Layer::zero_subclusters(GuestOffset begin, GuestOffset end, bool may_unmap,
                                  GuestOffset disk_end) {
  if (data_file_raw_) {
    const std::uint64_t data_end = std::min(end, disk_end).value;
    data_file_->write_zeroes(begin.value, data_end - begin.value, {.may_unmap = may_unmap});
  }
  // What entries cannot say has to be written; after the entries, since that takes the same locks.
  std::vector<std::pair<GuestOffset, GuestOffset>> to_write;
  const bool can_say_zero = metadata_.map().rules().zero_flag || geometry_.extended_l2();
  change_entries(begin, end, may_unmap ? FreedBy::request : FreedBy::other,
                 [&](const L2Mapping& old, GuestOffset cluster,
                     std::uint32_t touched) -> std::optional<L2Mapping> {
                   const bool whole = touched == geometry_.all_subclusters();
                   const bool is_compressed = old.kind == L2Mapping::Kind::compressed;
                   const bool can_drop = may_unmap && !has_backing_name_ && whole;
                   if ((!can_say_zero && !can_drop &&
                        (old.has_host_cluster || is_compressed || has_backing_name_)) ||
                       (is_compressed && !whole)) {
                     const GuestOffset from = std::max(begin, cluster);
                     const GuestOffset to = std::min(end, cluster + geometry_.cluster_size());
                     to_write.emplace_back(from, std::min(to, disk_end));
                     return std::nullopt;
                   }
                   return zeroed(old, touched, may_unmap);
                 });
  for (const auto& [from, to] : to_write) write_zero_bytes(from, to - from);
}

/// The mapping after `subclusters` have been zeroed; nothing if it stays.
std::optional<L2Mapping> Qcow2Layer::zeroed(const L2Mapping& old, std::uint32_t subclusters,
                                            bool may_unmap) const {
  const L2Rules& rules = metadata_.map().rules();
  const bool can_say_zero = rules.zero_flag || geometry_.extended_l2();
  L2Mapping mapping = old;
  if (old.kind == L2Mapping::Kind::compressed) mapping = L2Mapping{};
  const bool has_data =
      old.kind == L2Mapping::Kind::compressed || (old.allocated & subclusters) != 0;
  // Unallocated without a backing file is zero already.
  if (!has_data && !has_backing_name_ && (!mapping.has_host_cluster || !may_unmap))
    return std::nullopt;

  mapping.allocated &= ~subclusters;
  if (can_say_zero) mapping.zero |= subclusters;
  const bool keeps_host = mapping.allocated != 0 ||
                          (!may_unmap && mapping.has_host_cluster && mapping.copied) ||
                          (data_file_raw_ && mapping.has_host_cluster);
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
    const std::uint64_t part = std::min<std::uint64_t>(length_bytes, kZeroes.size());
    write_inside(guest_offset, std::span(kZeroes).first(part));
    guest_offset += part;
    length_bytes -= part;
  }
}

}  // namespace qcowkit::qcow2
