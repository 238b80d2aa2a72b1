// Writing: overwrite in place, or reserve, move and commit.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>

#include "formats/fill_plain.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

// --- Requests ----------------------------------------------------------------------------------

void Qcow2Layer::write(GuestOffset guest_offset, std::span<const std::byte> from) {
  change_disk(guest_offset, from.size(), [&] { write_inside(guest_offset, from); });
}

void Qcow2Layer::write_inside(GuestOffset guest_offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    std::uint64_t written = 0;
    {
      const EpochPin pin(metadata_.epochs());
      const ClusterMap::InPlaceRun run = metadata_.map().find_in_place(guest_offset, from.size());
      if (run.length_bytes != 0) {
        write_data(guest_offset, run.host_offset, from.first(run.length_bytes));
        written = run.length_bytes;
      }
    }
    if (written == 0) {
      const GuestOffset end =
          guest_offset + std::min<std::uint64_t>(from.size(), left_in_table(guest_offset));
      written = allocate_and_move(
          guest_offset, end, [&](const WritePlan& plan, GuestOffset begin, GuestOffset run_end) {
            move_with_copy(plan, begin, from.first(run_end - begin));
          });
    }
    guest_offset += written;
    from = from.subspan(written);
  }
}

void Qcow2Layer::write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                                const Image::FillRun& fill) {
  change_disk(guest_offset, length_bytes,
              [&] { write_in_place_inside(guest_offset, length_bytes, fill); });
}

void Qcow2Layer::write_in_place_inside(GuestOffset guest_offset, std::uint64_t length_bytes,
                                       const Image::FillRun& fill) {
  if (is_encrypted()) {
    // What the caller would write to the storage is not encrypted.
    fill_plain(guest_offset, length_bytes, fill,
               [this](GuestOffset at, std::span<const std::byte> run) { write_inside(at, run); });
    return;
  }
  const GuestOffset request_end = guest_offset + length_bytes;
  if (geometry_.in_cluster(guest_offset.value) != 0 ||
      (geometry_.in_cluster(request_end.value) != 0 && request_end.value != virtual_size())) {
    throw Error(Errc::invalid_argument, "range is not made of whole clusters");
  }
  while (guest_offset < request_end) {
    {
      const EpochPin pin(metadata_.epochs());
      const ClusterMap::InPlaceRun run =
          metadata_.map().find_in_place(guest_offset, request_end - guest_offset);
      if (run.length_bytes != 0) {
        storage_->raise(Event::write_aio, guest_offset.value, run.length_bytes);
        fill(data_storage(), run.host_offset.value, guest_offset.value, run.length_bytes);
        guest_offset += run.length_bytes;
        continue;
      }
    }
    const GuestOffset end =
        guest_offset + std::min(request_end - guest_offset, left_in_table(guest_offset));
    guest_offset += allocate_and_move(
        guest_offset, end, [&](const WritePlan& plan, GuestOffset begin, GuestOffset run_end) {
          storage_->raise(Event::write_aio, begin.value, run_end - begin);
          fill(data_storage(), plan.host_of(begin).value, begin.value, run_end - begin);
          // Behind the disk's end, so that growing it later shows zeroes.
          if (run_end < plan.fill_end && !plan.reads_as_zero) {
            data_storage().write_zeroes(plan.host_of(run_end).value, plan.fill_end - run_end, {});
          }
        });
  }
}

/// Reserve, move, commit, for the first part of a guest range that lies within one L2 table.
/// Returns the length of that part in bytes; 0 if by now the range's start can be written in place.
std::uint64_t Qcow2Layer::allocate_and_move(GuestOffset begin, GuestOffset end,
                                            const MoveRun& move) {
  return reclaiming([&]() -> std::uint64_t {
    const GuestRangeLock::Holder range(ranges_, cluster_start(begin), cluster_end(end));
    const EpochPin pin(metadata_.epochs());
    WritePlan plan = plan_write(begin, end);
    if (plan.action == WritePlan::Action::in_place) return 0;
    reserve(plan);
    const GuestOffset run_end =
        std::min(end, plan.first_cluster + plan.old_entries.size() * geometry_.cluster_size());
    set_fill(plan, begin, run_end);
    move(plan, begin, run_end);

    const std::vector<RawL2Entry> entries = entries_after(plan);
    std::size_t replaced = 0;
    const auto finish = [&] {
      plan.reservation.commit(replaced * geometry_.cluster_size());
      if (plan.action != WritePlan::Action::allocate) return;
      for (std::size_t i = 0; i < replaced; ++i) {
        free_old(plan.old_entries[i], begin, FreedBy::other);
      }
    };
    try {
      metadata_.map().replace_entries(plan.first_cluster, entries, replaced);
    } catch (...) {
      finish();
      throw;
    }
    finish();
    return run_end - begin;
  });
}

// --- The steps ---------------------------------------------------------------------------------

WritePlan Qcow2Layer::plan_write(GuestOffset begin, GuestOffset end) {
  WritePlan plan;
  plan.first_cluster = cluster_start(begin);
  std::vector<RawL2Entry> entries((cluster_end(end) - plan.first_cluster) /
                                  geometry_.cluster_size());
  const bool own_table = metadata_.map().read_entries(plan.first_cluster, entries);

  std::size_t clusters = 0;
  for (; clusters < entries.size(); ++clusters) {
    const GuestOffset cluster = plan.first_cluster + clusters * geometry_.cluster_size();
    const L2Mapping mapping = decode(entries[clusters], cluster);
    const bool usable = mapping.kind == L2Mapping::Kind::standard && mapping.has_host_cluster &&
                        own_table && (mapping.copied || uses_data_file());
    const std::uint32_t touched = subclusters_in(cluster, begin, end);
    const WritePlan::Action action = !usable ? WritePlan::Action::allocate
                                     : (mapping.allocated & touched) == touched && mapping.copied
                                         ? WritePlan::Action::in_place
                                         : WritePlan::Action::reuse;
    if (clusters == 0) {
      plan.action = action;
      plan.host_offset = mapping.host_offset;
    }
    const bool continues =
        action == plan.action &&
        (action == WritePlan::Action::allocate ||
         mapping.host_offset == plan.host_offset + clusters * geometry_.cluster_size());
    if (!continues) break;
  }
  entries.resize(clusters);
  plan.old_entries = std::move(entries);
  return plan;
}

void Qcow2Layer::reserve(WritePlan& plan) {
  metadata_.own_table(plan.first_cluster);
  if (plan.action == WritePlan::Action::reuse) {
    metadata_.map().require_reusable(plan.first_cluster, plan.host_offset,
                                     plan.old_entries.size() * geometry_.cluster_size());
    return;
  }
  if (uses_data_file()) {
    plan.host_offset = {plan.first_cluster.value};
    return;
  }
  const HostRun run = metadata_.allocate(plan.old_entries.size());
  plan.reservation =
      Reservation(metadata_, run.host_offset, run.clusters * geometry_.cluster_size());
  plan.host_offset = run.host_offset;
  plan.reads_as_zero = run.reads_as_zero;
  plan.old_entries.resize(run.clusters);
}

/// Which guest range the host clusters have to hold: whole subclusters, and where a cluster moves
/// to a new place, also what it holds already.
void Qcow2Layer::set_fill(WritePlan& plan, GuestOffset begin, GuestOffset end) const {
  const GuestOffset last_cluster =
      plan.first_cluster + (plan.old_entries.size() - 1) * geometry_.cluster_size();
  const auto filled = [&](GuestOffset cluster, RawL2Entry raw) {
    const std::uint32_t touched = subclusters_in(cluster, begin, end);
    if (plan.action == WritePlan::Action::reuse) return touched;
    const L2Mapping old = decode(raw, cluster);
    if (old.kind == L2Mapping::Kind::compressed) return geometry_.all_subclusters();
    return touched | old.allocated;
  };
  const std::uint32_t first = filled(plan.first_cluster, plan.old_entries.front());
  const std::uint32_t last = filled(last_cluster, plan.old_entries.back());
  plan.fill_begin = plan.first_cluster +
                    static_cast<unsigned>(std::countr_zero(first)) * geometry_.subcluster_size();
  plan.fill_end = last_cluster +
                  static_cast<unsigned>(32 - std::countl_zero(last)) * geometry_.subcluster_size();
  if (plan.action != WritePlan::Action::reuse) return;
  // Around the data, what is there already stays: somebody else may be writing to it in place.
  const auto is_there = [&](GuestOffset cluster, RawL2Entry raw, GuestOffset o) {
    return (decode(raw, cluster).allocated & subclusters_in(cluster, o, o + 1)) != 0;
  };
  if (is_there(plan.first_cluster, plan.old_entries.front(), begin)) plan.fill_begin = begin;
  if (is_there(last_cluster, plan.old_entries.back(), {end.value - 1})) plan.fill_end = end;
}

/// Writes the data, with what is copied on write around it, as one request.
void Qcow2Layer::move_with_copy(const WritePlan& plan, GuestOffset begin,
                                std::span<const std::byte> from) {
  const GuestOffset end = begin + from.size();
  const auto copy = [&](GuestOffset copy_begin, GuestOffset copy_end) -> Buffer {
    const std::uint64_t bytes = copy_end - copy_begin;
    if (bytes == 0) return {};
    const bool behind_disk = is_vm_state(copy_begin);
    // What was never written reads as zeroes, but does not decrypt to them.
    if (plan.reads_as_zero && !is_encrypted() && !behind_disk && is_known_zero(copy_begin, bytes)) {
      storage_->raise(Event::cluster_alloc_space, plan.host_of(copy_begin).value, bytes);
      return {};
    }
    Buffer buffer(bytes);
    storage_->raise(Event::cow_read, copy_begin.value, bytes);
    if (behind_disk) {
      read_behind_disk(copy_begin, buffer.span());
    } else {
      read(copy_begin, buffer.span());
    }
    return buffer;
  };
  Buffer head = copy(plan.fill_begin, begin);
  Buffer tail = copy(end, plan.fill_end);
  if (head.size() + tail.size() != 0) {
    storage_->raise(Event::cow_write, plan.host_of(begin).value - head.size(),
                    head.size() + from.size() + tail.size());
  }

  if (is_encrypted()) {
    write_joined(plan, begin, head, from, tail);
    return;
  }
  std::array<iovec, 3> parts;
  std::size_t count = 0;
  if (head.size() != 0) parts[count++] = {head.data(), head.size()};
  parts[count++] = {const_cast<std::byte*>(from.data()), from.size()};
  if (tail.size() != 0) parts[count++] = {tail.data(), tail.size()};
  const GuestOffset start = head.size() != 0 ? plan.fill_begin : begin;
  storage_->raise(Event::write_aio, begin.value, from.size());
  data_storage().writev(plan.host_of(start).value, std::span(parts).first(count));
}

std::vector<RawL2Entry> Qcow2Layer::entries_after(const WritePlan& plan) const {
  std::vector<RawL2Entry> entries;
  entries.reserve(plan.old_entries.size());
  for (std::size_t i = 0; i < plan.old_entries.size(); ++i) {
    const GuestOffset cluster = plan.first_cluster + i * geometry_.cluster_size();
    const std::uint32_t filled = subclusters_in(cluster, plan.fill_begin, plan.fill_end);
    const L2Mapping old = decode(plan.old_entries[i], cluster);
    L2Mapping mapping;
    mapping.copied = true;
    mapping.has_host_cluster = true;
    mapping.host_offset = plan.host_of(cluster);
    mapping.allocated = filled;
    if (old.kind == L2Mapping::Kind::standard) {
      if (plan.action == WritePlan::Action::reuse) mapping.allocated |= old.allocated;
      mapping.zero = old.zero & ~filled;
    }
    entries.push_back(mapping.encode(metadata_.map().rules()));
  }
  return entries;
}

/// Counts down what an entry that has just been replaced pointed at.
void Qcow2Layer::free_old(RawL2Entry old_entry, GuestOffset guest_offset, FreedBy by) {
  const L2Mapping old = decode(old_entry, guest_offset);
  if (old.kind == L2Mapping::Kind::compressed) {
    metadata_.defer_free(old.host_offset, old.compressed_bytes, by);
  } else if (old.has_host_cluster && !uses_data_file()) {
    metadata_.defer_free(old.host_offset, geometry_.cluster_size(), by);
  }
}

}  // namespace qcowkit::qcow2
