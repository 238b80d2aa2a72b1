// Changing the disk's size, and giving everything back.
#include <fmt/core.h>

#include <algorithm>

#include "formats/qcow2/cluster_tree.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/qcow2_layer.h"

namespace qcowkit::qcow2 {

namespace {

void require_possible_size(std::uint64_t size_bytes, const Header& header) {
  const Geometry g = header.geometry();
  if (size_bytes > kVirtualSizeMax ||
      g.l1_entries_for(size_bytes) * sizeof(std::uint64_t) > kL1TableBytesMax) {
    throw Error(Errc::limit_exceeded, "Failed to grow the L1 table: File too large");
  }
  if (header.nb_snapshots != 0 && header.version < 3) {
    // Entries of version 2 need not tell how large the disk was.
    throw Error(Errc::unsupported, "Can't resize a v2 image which has snapshots");
  }
}

}  // namespace

void Qcow2Layer::resize(std::uint64_t size_bytes, const ResizeOptions& options) {
  change_alone([&] { resize_alone(size_bytes, options); });
}

void Qcow2Layer::resize_alone(std::uint64_t size_bytes, const ResizeOptions& options) {
  const Header header = metadata_.header();
  require_possible_size(size_bytes, header);
  if (size_bytes > header.size) {
    bitmaps_.before_resize(size_bytes);
    grow(size_bytes, options.preallocation);
    bitmaps_.resize(size_bytes);
    return;
  }
  if (size_bytes == header.size) return;
  if (!options.may_shrink) {
    throw Error(
        Errc::invalid_argument,
        fmt::format("the disk has {} bytes; making it smaller has to be allowed", header.size));
  }
  if (options.preallocation != Preallocation::off) {
    throw Error(Errc::invalid_argument, "Preallocation can't be used for shrinking an image");
  }
  bitmaps_.before_resize(size_bytes);
  shrink(size_bytes);
  bitmaps_.resize(size_bytes);
}

// --- Growing -----------------------------------------------------------------------------------

void Qcow2Layer::grow(std::uint64_t size_bytes, Preallocation preallocation) {
  if (preallocation != Preallocation::off) require_readable();
  const std::uint64_t old_size = virtual_size();
  // What lies behind the old end as a VM state would become part of the disk.
  std::vector<std::uint64_t> l1_table = metadata_.map().l1_table();
  const std::size_t old_entries =
      std::min<std::size_t>(l1_table.size(), geometry_.l1_entries_for(old_size));
  const std::vector<std::uint64_t> behind(
      l1_table.begin() + static_cast<std::ptrdiff_t>(old_entries), l1_table.end());
  const std::size_t entries = geometry_.l1_entries_for(size_bytes);
  if (!behind.empty() || entries > l1_table.size()) {
    l1_table.resize(old_entries);
    l1_table.resize(entries);
    metadata_.replace_l1_table(
        std::move(l1_table), false, [](Header&) {}, Metadata::L1Change::grow);
    cluster_tree().release(behind);
  }
  if (data_file_raw_) data_file_->resize(size_bytes, preallocation);

  const GuestOffset end{size_bytes};
  zero_behind_old_end({old_size}, end);
  if (preallocation != Preallocation::off) preallocate({old_size}, end, preallocation);
  metadata_.change_header([&](Header& header) { header.size = size_bytes; });
  virtual_size_ = size_bytes;
}

/// What the last cluster, or a longer backing file, has behind the disk's old end must not show.
void Qcow2Layer::zero_behind_old_end(GuestOffset old_end, GuestOffset end) {
  const GuestOffset tail_end = std::min(cluster_end(old_end), end);
  const bool is_backed = backing() != nullptr && backing()->virtual_size() > old_end.value;
  zero_tail(old_end, tail_end, is_backed);
  const std::uint64_t backing_end = backing() == nullptr ? 0 : backing()->virtual_size();
  const GuestOffset zero_end{std::min(end.value, align_up(backing_end, geometry_.cluster_size()))};
  if (tail_end < zero_end) {
    zero_range(tail_end, zeroed_end(zero_end, zero_end), true, zero_end);
  }
}

/// Zeroes a part of a cluster behind the disk's end, if it is not zero already.
void Qcow2Layer::zero_tail(GuestOffset begin, GuestOffset end, bool is_backed) {
  if (begin >= end) return;
  std::vector<std::byte> tail(end - begin);
  read_behind_disk(begin, tail);
  const bool is_zero = std::ranges::all_of(tail, [](std::byte b) { return b == std::byte{0}; });
  if (!is_zero || is_backed) write_zero_bytes(begin, tail.size());
}

// --- Shrinking ---------------------------------------------------------------------------------

/// A copy of an L2 table, or of what the L1 entry says there is, without the entries from
/// `first_gone` on. Returns what the dropped entries led to.
std::vector<HostRange> Qcow2Layer::copy_table_start(L1Entry table, HostOffset copy,
                                                    std::uint64_t first_gone) {
  std::vector<HostRange> dropped{{table.l2_table(), geometry_.cluster_size()}};
  Buffer bytes(geometry_.cluster_size());
  storage_->raise(Event::l2_load, table.l2_table().value, bytes.size());
  storage_->read(table.l2_table().value, bytes.span());
  for (std::uint64_t i = first_gone; i < geometry_.l2_entries(); ++i) {
    const RawL2Entry raw = RawL2Entry::load(bytes.data(), i, geometry_);
    if (raw == RawL2Entry{}) continue;
    const L2Mapping mapping = decode(raw, {i << geometry_.cluster_bits()});
    if (mapping.kind == L2Mapping::Kind::compressed) {
      dropped.push_back({mapping.host_offset, mapping.compressed_bytes});
    } else if (mapping.has_host_cluster && !uses_data_file()) {
      dropped.push_back({mapping.host_offset, geometry_.cluster_size()});
    }
    RawL2Entry{}.store(bytes.data(), i, geometry_);
  }
  storage_->raise(Event::l2_alloc_write, copy.value, bytes.size());
  storage_->write(copy.value, bytes.span());
  return dropped;
}

void Qcow2Layer::shrink(std::uint64_t size_bytes) {
  std::vector<std::uint64_t> l1_table = metadata_.map().l1_table();
  const std::size_t entries =
      std::min<std::size_t>(l1_table.size(), geometry_.l1_entries_for(size_bytes));
  const std::vector<std::uint64_t> gone(l1_table.begin() + static_cast<std::ptrdiff_t>(entries),
                                        l1_table.end());
  l1_table.resize(entries);

  // The table that the new end lies in is replaced by one that ends there, so that one write of the
  // header makes all of it true.
  const std::uint64_t first_gone = geometry_.l2_index(cluster_end({size_bytes}));
  std::vector<HostRange> dropped;
  if (entries != 0 && first_gone != 0 && L1Entry(l1_table.back()).has_table()) {
    const HostRun run = metadata_.allocate(1);
    try {
      dropped = copy_table_start(L1Entry(l1_table.back()), run.host_offset, first_gone);
    } catch (...) {
      metadata_.release(run.host_offset, geometry_.cluster_size());
      throw;
    }
    l1_table.back() = L1Entry::table(run.host_offset, true).raw();
  }
  metadata_.replace_l1_table(
      std::move(l1_table), false, [&](Header& header) { header.size = size_bytes; },
      Metadata::L1Change::shrink);
  virtual_size_ = size_bytes;
  storage_->raise(Event::l1_shrink_free_l2_clusters);
  metadata_.refcounts().drop_references(dropped);
  cluster_tree().release(gone);
  metadata_.flush();
  if (data_file_raw_) data_file_->resize(size_bytes, Preallocation::off);
  metadata_.trim_storage();
}

// --- Giving everything back --------------------------------------------------------------------

void Qcow2Layer::make_empty() {
  change_alone([&] {
    storage_->raise(Event::empty_image_prepare);
    bitmaps_.note({0}, virtual_size());
    const std::vector<std::uint64_t> old_table = metadata_.map().l1_table();
    metadata_.replace_l1_table(std::vector<std::uint64_t>(old_table.size()), false, [](Header&) {});
    cluster_tree().release(old_table);
    storage_->raise(Event::reftable_update);
    metadata_.flush();
    if (data_file_) {
      data_file_->write_zeroes(0, data_file_->size(), {.may_unmap = true});
    }
    metadata_.trim_storage();
  });
}

}  // namespace qcowkit::qcow2
