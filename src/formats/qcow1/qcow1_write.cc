// Writing: overwrite in place, or reserve, move and commit.
#include <algorithm>
#include <array>

#include "formats/fill_plain.h"
#include "formats/qcow1/qcow1_layer.h"
#include "formats/qcow1/write_plan.h"

namespace qcowkit::qcow1 {

namespace {

/// Encrypted clusters pass through a buffer of about this size.
constexpr std::uint64_t kEncryptedRunBytesMax = 1 << 20;

Buffer join(const Buffer& head, std::span<const std::byte> middle, const Buffer& tail) {
  Buffer joined(head.size() + middle.size() + tail.size());
  const std::span<std::byte> into = joined.span();
  std::ranges::copy(head.span(), into.begin());
  std::ranges::copy(middle, into.subspan(head.size()).begin());
  std::ranges::copy(tail.span(), into.subspan(head.size() + middle.size()).begin());
  return joined;
}

}  // namespace

// --- Requests ----------------------------------------------------------------------------------

void Qcow1Layer::write(GuestOffset guest_offset, std::span<const std::byte> from) {
  before_change();
  const RequestGate::Shared inside(gate_);
  write_bytes(guest_offset, from);
}

void Qcow1Layer::write_bytes(GuestOffset guest_offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    std::uint64_t written = overwrite(guest_offset, from);
    if (written == 0) {
      std::uint64_t part = std::min<std::uint64_t>(from.size(), left_in_table(guest_offset));
      if (is_encrypted_) part = std::min(part, kEncryptedRunBytesMax);
      written =
          allocate_and_move(guest_offset, guest_offset + part,
                            [&](const WritePlan& plan, GuestOffset begin, GuestOffset run_end) {
                              move_with_copy(plan, begin, from.first(run_end - begin));
                            });
    }
    guest_offset += written;
    from = from.subspan(written);
  }
}

/// Writes what can be written in place from the range's start on. Returns its length.
std::uint64_t Qcow1Layer::overwrite(GuestOffset guest_offset, std::span<const std::byte> from) {
  const ClusterMap::InPlaceRun run = metadata_.map().find_in_place(guest_offset, from.size());
  if (run.length_bytes != 0) {
    write_data(guest_offset, run.host_offset, from.first(run.length_bytes));
  }
  return run.length_bytes;
}

void Qcow1Layer::write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                                const Image::FillRun& fill) {
  before_change();
  const RequestGate::Shared inside(gate_);
  const GuestOffset request_end = guest_offset + length_bytes;
  if (geometry_.in_cluster(guest_offset.value) != 0 ||
      (geometry_.in_cluster(request_end.value) != 0 && request_end.value != virtual_size_)) {
    throw Error(Errc::invalid_argument, "range is not made of whole clusters");
  }
  if (is_encrypted_) {
    // What the caller would write to the storage is not encrypted.
    fill_plain(guest_offset, length_bytes, fill,
               [this](GuestOffset at, std::span<const std::byte> run) { write_bytes(at, run); });
    return;
  }
  while (guest_offset < request_end) {
    const ClusterMap::InPlaceRun run =
        metadata_.map().find_in_place(guest_offset, request_end - guest_offset);
    if (run.length_bytes != 0) {
      storage_->raise(Event::write_aio, guest_offset.value, run.length_bytes);
      fill(*storage_, run.host_offset.value, guest_offset.value, run.length_bytes);
      guest_offset += run.length_bytes;
      continue;
    }
    const GuestOffset end =
        guest_offset + std::min(request_end - guest_offset, left_in_table(guest_offset));
    guest_offset += allocate_and_move(
        guest_offset, end, [&](const WritePlan& plan, GuestOffset begin, GuestOffset run_end) {
          storage_->raise(Event::write_aio, begin.value, run_end - begin);
          fill(*storage_, plan.host_of(begin).value, begin.value, run_end - begin);
          // Behind the disk's end; the file has to reach behind its clusters.
          if (run_end < plan.end()) {
            storage_->write_zeroes(plan.host_of(run_end).value, plan.end() - run_end, {});
          }
        });
  }
}

// --- The steps ---------------------------------------------------------------------------------

/// Reserve, move, commit, for the first part of a guest range that lies within one L2 table.
/// Returns the length of that part in bytes; 0 if by now the range's start can be written in place.
std::uint64_t Qcow1Layer::allocate_and_move(GuestOffset begin, GuestOffset end,
                                            const MoveRun& move) {
  const GuestRangeLock::Holder range(ranges_, cluster_start(begin), cluster_end(end));
  WritePlan plan = plan_write(begin, end);
  if (plan.clusters == 0) return 0;
  reserve(plan);
  const GuestOffset run_end = std::min(end, plan.end());
  move(plan, begin, run_end);

  std::vector<std::uint64_t> entries(plan.clusters);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i] = plan.host_offset.value + i * geometry_.cluster_size();
  }
  std::size_t replaced = 0;
  try {
    metadata_.map().replace_entries(plan.first_cluster, entries, replaced);
  } catch (...) {
    plan.reservation.commit(replaced * geometry_.cluster_size());
    throw;
  }
  plan.reservation.commit(replaced * geometry_.cluster_size());
  return run_end - begin;
}

/// The clusters from the range's start on that need a host cluster.
Qcow1Layer::WritePlan Qcow1Layer::plan_write(GuestOffset begin, GuestOffset end) {
  WritePlan plan;
  plan.first_cluster = cluster_start(begin);
  plan.cluster_size = geometry_.cluster_size();
  std::vector<std::uint64_t> entries((cluster_end(end) - plan.first_cluster) / plan.cluster_size);
  metadata_.map().read_entries(plan.first_cluster, entries);
  for (const std::uint64_t raw : entries) {
    if (metadata_.map().decode(raw, plan.end()).kind == L2Mapping::Kind::data) break;
    ++plan.clusters;
  }
  return plan;
}

void Qcow1Layer::reserve(WritePlan& plan) {
  metadata_.make_table(plan.first_cluster);
  const HostSpace::Range room = metadata_.allocate(plan.clusters);
  plan.reservation =
      Reservation(metadata_, room.host_offset, plan.clusters * geometry_.cluster_size());
  plan.host_offset = room.host_offset;
  plan.is_fresh = room.is_fresh;
}

/// Writes the data, with what is copied on write around it, as one request. Each byte of an
/// encrypted cluster has to be there: a hole would not decrypt to zeroes.
void Qcow1Layer::move_with_copy(const WritePlan& plan, GuestOffset begin,
                                std::span<const std::byte> from) {
  const GuestOffset end = begin + from.size();
  const std::uint64_t head_bytes = begin - plan.first_cluster;
  const bool needs_head = head_bytes != 0 && (is_encrypted_ || !plan.is_fresh ||
                                              !is_known_zero(plan.first_cluster, head_bytes));
  Buffer head(needs_head ? head_bytes : 0);
  read(plan.first_cluster, head.span());
  // Written even if it is zero: whatever goes to the file's end next must lie behind this cluster.
  Buffer tail(plan.end() - end);
  read(end, tail.span());
  const GuestOffset start = needs_head ? plan.first_cluster : begin;

  if (head.size() + tail.size() == 0) {
    write_data(start, plan.host_of(start), from);
    return;
  }
  if (is_encrypted_) {
    // Sectors are encrypted whole.
    const Buffer joined = join(head, from, tail);
    write_data(start, plan.host_of(start), joined.span());
    return;
  }
  std::array<iovec, 3> parts;
  std::size_t count = 0;
  if (head.size() != 0) parts[count++] = {head.data(), head.size()};
  parts[count++] = {const_cast<std::byte*>(from.data()), from.size()};
  if (tail.size() != 0) parts[count++] = {tail.data(), tail.size()};
  storage_->raise(Event::write_aio, begin.value, from.size());
  storage_->writev(plan.host_of(start).value, std::span(parts).first(count));
}

}  // namespace qcowkit::qcow1
