#include "formats/qcow2/check_l2.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "formats/qcow2/limits.h"

namespace qcowkit::qcow2 {

void L2TableReader::for_each(std::span<const L2TableRef> tables, const CheckStage& stage,
                             const Visit& visit) {
  const auto cluster_size = static_cast<std::size_t>(context_.geometry.cluster_size());
  const std::size_t batch_max =
      std::min(std::max<std::size_t>(kBatchBytes / cluster_size, 1), tables.size());
  if (buffer_.size() < batch_max * cluster_size) buffer_ = Buffer(batch_max * cluster_size);
  for (std::size_t begin = 0; begin < tables.size(); begin += batch_max) {
    context_.poll(stage, static_cast<double>(begin) / static_cast<double>(tables.size()));
    const auto batch = tables.subspan(begin, std::min(batch_max, tables.size() - begin));
    read_batch(batch);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      visit(batch[i], readable_[i] ? std::span(slot(i), cluster_size) : std::span<std::byte>());
    }
  }
}

void L2TableReader::read_batch(std::span<const L2TableRef> tables) {
  const std::uint64_t cluster_size = context_.geometry.cluster_size();
  order_.resize(tables.size());
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  std::sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
    return tables[a].host_offset < tables[b].host_offset;
  });
  readable_.assign(tables.size(), true);
  for (std::size_t begin = 0; begin < order_.size();) {
    std::size_t end = begin + 1;
    while (end < order_.size() &&
           tables[order_[end]].host_offset == tables[order_[end - 1]].host_offset + cluster_size) {
      ++end;
    }
    if (!read_run(tables, begin, end)) {
      for (std::size_t i = begin; i < end; ++i) readable_[order_[i]] = read_run(tables, i, i + 1);
    }
    begin = end;
  }
}

/// Reads the tables `order_[begin, end)`, which lie one behind the other.
bool L2TableReader::read_run(std::span<const L2TableRef> tables, std::size_t begin,
                             std::size_t end) {
  std::vector<iovec> into;
  for (std::size_t i = begin; i < end; ++i) {
    into.push_back({slot(order_[i]), static_cast<std::size_t>(context_.geometry.cluster_size())});
  }
  try {
    context_.storage.readv(tables[order_[begin]].host_offset.value, into);
    return true;
  } catch (const Error&) {
    return false;
  }
}

L2Rules l2_check_rules(const Header& header) noexcept {
  return {header.geometry(), !header.has(incompatible::kExtendedL2),
          header.has(incompatible::kDataFile)};
}

StandardL2Entry::StandardL2Entry(RawL2Entry raw, const L2Rules& rules) noexcept
    : host_offset(raw.descriptor & RawL2Entry::kOffsetMask),
      copied((raw.descriptor & RawL2Entry::kCopied) != 0),
      has_host_cluster(host_offset != 0 || (rules.data_file && copied)),
      is_preallocated(has_host_cluster &&
                      (rules.zero_flag ? (raw.descriptor & RawL2Entry::kZero) != 0
                                       : static_cast<std::uint32_t>(raw.subcluster_bitmap) == 0)),
      is_aligned(rules.geometry.in_cluster(host_offset) == 0) {}

L2Walk::L2Walk(References& references)
    : references_(references),
      rules_(l2_check_rules(references.context.header)),
      geometry_(references.context.geometry) {}

void L2Walk::table(const L2TableRef& table, std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    references_.unreadable(
        os_error(EIO, fmt::format("L2 table at {:#x}", table.host_offset.value)));
    return;
  }
  weight_ = std::uint64_t{table.active} + table.inactive;
  active_ = table.active;
  next_contiguous_ = 0;
  if (geometry_.extended_l2()) {
    entries<true>(bytes.data());
  } else {
    entries<false>(bytes.data());
  }
}

template <bool kExtended>
void L2Walk::entries(const std::byte* bytes) {
  const std::uint64_t n = geometry_.l2_entries();
  std::uint64_t i = 0;
  while (i < n) {
    const RawL2Entry raw = {load_big_endian<std::uint64_t>(bytes + (i << (kExtended ? 4 : 3))),
                            kExtended ? load_big_endian<std::uint64_t>(bytes + (i << 4) + 8) : 0};
    if ((raw.descriptor & (kExtended ? ~std::uint64_t{0} : ~RawL2Entry::kZero)) == 0 &&
        static_cast<std::uint32_t>(raw.subcluster_bitmap) == 0) {
      ++i;  // unallocated or plain zeroes
    } else if (is_plain<kExtended>(raw)) {
      const std::uint64_t clusters = plain_run<kExtended>(bytes, i, raw.descriptor);
      const bool copied = (raw.descriptor & RawL2Entry::kCopied) != 0;
      count_run({raw.descriptor & RawL2Entry::kOffsetMask, clusters,
                 active_ == 0 ? claim::kNone
                 : copied     ? claim::kCopied
                              : claim::kShared});
      i += clusters;
    } else {
      odd_entry(raw, i);
      ++i;
    }
  }
}

/// True for what nearly all entries are: a host cluster at an aligned place, and nothing wrong.
template <bool kExtended>
bool L2Walk::is_plain(RawL2Entry raw) const noexcept {
  constexpr std::uint64_t kAllowed =
      RawL2Entry::kCopied | RawL2Entry::kOffsetMask | (kExtended ? 0 : RawL2Entry::kZero);
  const std::uint64_t host_offset = raw.descriptor & RawL2Entry::kOffsetMask;
  return (raw.descriptor & ~kAllowed) == 0 && host_offset != 0 &&
         geometry_.in_cluster(host_offset) == 0 &&
         (!kExtended || (raw.subcluster_bitmap & raw.subcluster_bitmap >> 32) == 0);
}

/// How many entries from `index`, a plain one, on are alike and lie one cluster behind the other.
template <bool kExtended>
std::uint64_t L2Walk::plain_run(const std::byte* bytes, std::uint64_t index,
                                std::uint64_t descriptor) const noexcept {
  const std::uint64_t cluster_size = geometry_.cluster_size();
  const std::uint64_t host_offset = descriptor & RawL2Entry::kOffsetMask;
  // Not so far that the offset would carry into the bits above it.
  const std::uint64_t n = std::min(
      geometry_.l2_entries(), index + ((kHostOffsetEnd - host_offset) >> geometry_.cluster_bits()));
  std::uint64_t i = index + 1;
  for (std::uint64_t expected = descriptor + cluster_size; i < n; ++i, expected += cluster_size) {
    const std::byte* at = bytes + (i << (kExtended ? 4 : 3));
    if (load_big_endian<std::uint64_t>(at) != expected) break;
    if constexpr (kExtended) {
      const auto bitmap = load_big_endian<std::uint64_t>(at + 8);
      if ((bitmap & bitmap >> 32) != 0) break;
    }
  }
  return i - index;
}

void L2Walk::count_run(const Run& run) {
  count_allocated(run.host_offset, run.clusters);
  if (rules_.data_file) {
    // Clusters of the data file are not counted; their refcount is one by definition.
    references_.claims_wrong |= run.claims == claim::kShared;
    return;
  }
  const std::uint64_t first = run.host_offset >> geometry_.cluster_bits();
  const std::uint64_t file_clusters = references_.context.file_clusters;
  const std::uint64_t inside =
      first >= file_clusters ? 0 : std::min(run.clusters, file_clusters - first);
  references_.counts.add(first, inside, weight_, run.claims);
  for (std::uint64_t i = inside; i < run.clusters; ++i) {
    references_.add_region((first + i) << geometry_.cluster_bits(), geometry_.cluster_size(),
                           weight_, run.claims);
  }
}

void L2Walk::count_allocated(std::uint64_t host_offset, std::uint64_t clusters) noexcept {
  Findings& findings = references_.findings;
  findings.allocated_clusters += clusters * active_;
  if (next_contiguous_ != 0 && host_offset != next_contiguous_) {
    findings.fragmented_clusters += active_;
  }
  next_contiguous_ = host_offset + clusters * geometry_.cluster_size();
}

void L2Walk::odd_entry(RawL2Entry raw, std::uint64_t index) {
  if ((raw.descriptor & RawL2Entry::kCompressed) != 0) {
    compressed_entry(raw, index);
  } else {
    standard_entry(raw);
  }
}

void L2Walk::compressed_entry(RawL2Entry raw, std::uint64_t index) {
  L2Rules in_this_file = rules_;
  in_this_file.data_file = false;
  const L2Mapping mapping = L2Mapping::decode(raw, in_this_file);
  if ((raw.descriptor & RawL2Entry::kCopied) != 0) {
    references_.corruption(
        weight_, "ERROR: coffset={:#x}: copied flag must never be set for compressed clusters",
        raw.descriptor & RawL2Entry::kOffsetMask);
    references_.claims_wrong = true;
  }
  if (rules_.data_file) {
    references_.corruption(weight_, "ERROR compressed cluster {} with data file, entry={:#x}",
                           index, raw.descriptor);
    return;
  }
  if (raw.subcluster_bitmap != 0) {
    references_.corruption(
        weight_,
        "ERROR compressed cluster {} with non-zero subcluster allocation bitmap, entry={:#x}",
        index, raw.descriptor);
    return;
  }
  if (mapping.kind == L2Mapping::Kind::compressed) {
    references_.add_region(mapping.host_offset.value, mapping.compressed_bytes, weight_,
                           claim::kNone);
  } else {
    references_.corruption(weight_, "ERROR compressed cluster {}, entry={:#x}: {}", index,
                           raw.descriptor, mapping.what_is_wrong);
  }
  references_.findings.allocated_clusters += active_;
  references_.findings.compressed_clusters += active_;
  references_.findings.fragmented_clusters += active_;
}

void L2Walk::standard_entry(RawL2Entry raw) {
  const StandardL2Entry entry(raw, rules_);
  // Bit 0 is the zero flag, or reserved with extended entries; the reference minds neither there.
  if ((raw.descriptor & RawL2Entry::kReservedMask) != 0) {
    references_.corruption(weight_, "ERROR found l2 entry with reserved bits set: {:x}",
                           raw.descriptor);
  }
  const auto allocated = static_cast<std::uint32_t>(raw.subcluster_bitmap);
  if (!entry.has_host_cluster) {
    if (allocated != 0) {
      references_.corruption(weight_,
                             "ERROR: Unallocated cluster has non-zero subcluster allocation map");
    }
    return;
  }
  if ((allocated & raw.subcluster_bitmap >> 32) != 0) {
    references_.corruption(
        weight_, "ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap",
        entry.host_offset);
  }
  if (!entry.is_aligned) {
    references_.unaligned_preallocations += entry.is_preallocated ? 1 : 0;
    references_.corruption(
        weight_, "ERROR offset={:x}: {} cluster is not properly aligned; L2 entry corrupted.",
        entry.host_offset, entry.is_preallocated ? "Preallocated" : "Data");
  }
  std::uint8_t claims = claim::kNone;
  if (active_ != 0) claims = entry.copied ? claim::kCopied : claim::kShared;
  count_allocated(entry.host_offset, 1);
  if (rules_.data_file) {
    references_.claims_wrong |= claims == claim::kShared;
    return;
  }
  if (!entry.is_aligned && claims != claim::kNone) {
    // The claim is about the first of two clusters; the slow pass looks at it by itself.
    references_.claims_wrong = true;
    claims = claim::kNone;
  }
  references_.add_region(entry.host_offset, geometry_.cluster_size(), weight_, claims);
}

}  // namespace qcowkit::qcow2
