#include "formats/qcow2/check_copied.h"

#include <algorithm>

#include "formats/qcow2/check_l2.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/refcount_block.h"

namespace qcowkit::qcow2 {

namespace {

constexpr CheckStage kCopiedStage{0.7, 1.0};
constexpr CheckStage kDropStage{0.0, 0.7};

// What the claims on a cluster mean once `note_refcounts` is through.
constexpr std::uint8_t kRefcountIsOne = claim::kCopied;
constexpr std::uint8_t kRefcountUnreadable = claim::kShared;

/// The bytes of a table that were changed, and have to be written.
class ChangedBytes {
 public:
  void add(std::size_t offset, std::size_t bytes) noexcept {
    begin_ = std::min(begin_, offset);
    end_ = std::max(end_, offset + bytes);
  }
  void write(Storage& storage, HostOffset table, std::span<const std::byte> bytes) const {
    if (begin_ < end_) storage.write(table.value + begin_, bytes.subspan(begin_, end_ - begin_));
  }

 private:
  std::size_t begin_ = ~std::size_t{0};
  std::size_t end_ = 0;
};

}  // namespace

CopiedFlags::CopiedFlags(References& references, RefcountStructure& refcounts)
    : references_(references),
      refcounts_(refcounts),
      context_(references.context),
      rules_(l2_check_rules(references.context.header)) {
  note_refcounts();
}

void CopiedFlags::note_refcounts() {
  const std::uint32_t order = context_.geometry.refcount_order();
  ReferenceCounts& counts = references_.counts;
  const auto note = [&](const RefcountBlockView& block) {
    if (!counts.may_have(block.first, block.clusters)) return;
    for (std::uint64_t i = 0; i < block.clusters; ++i) {
      const bool is_one = !block.bytes.empty() && load_refcount(block.bytes.data(), i, order) == 1;
      const std::uint8_t now = block.state == BlockState::unreadable ? kRefcountUnreadable
                               : is_one                              ? kRefcountIsOne
                                                                     : claim::kNone;
      // Untouched memory stays untouched.
      if (counts.claims(block.first + i) != now) counts.set_claims(block.first + i, now);
    }
  };
  refcounts_.for_each_block(references_, counts.clusters(), note);
}

bool CopiedFlags::is_wrong(std::uint64_t host_offset, bool copied) {
  const std::uint64_t cluster = host_offset >> context_.geometry.cluster_bits();
  if (cluster >= references_.counts.clusters()) return copied != (refcounts_.lookup(cluster) == 1);
  const std::uint8_t refcount = references_.counts.claims(cluster);
  return refcount != kRefcountUnreadable && copied != (refcount == kRefcountIsOne);
}

void CopiedFlags::report() {
  l1_entries(false);
  L2TableReader reader(context_);
  reader.for_each(std::span(references_.tables).first(references_.active_tables), kCopiedStage,
                  [&](const L2TableRef& table, std::span<std::byte> bytes) {
                    if (!bytes.empty()) l2_table(table, bytes, false);
                  });
}

std::uint64_t CopiedFlags::repair() {
  l1_entries(true);
  L2TableReader reader(context_);
  reader.for_each(std::span(references_.tables).first(references_.active_tables), kCopiedStage,
                  [&](const L2TableRef& table, std::span<std::byte> bytes) {
                    if (bytes.empty() || !references_.is_only_a_table(table)) return;
                    l2_table(table, bytes, true);
                  });
  if (repaired_ != 0) context_.storage.flush();
  return repaired_;
}

void CopiedFlags::l1_entries(bool repairs) {
  const Geometry& g = context_.geometry;
  const std::uint64_t table = context_.header.l1_table_offset.value;
  ChangedBytes changed;
  std::vector<std::byte> bytes(repairs ? references_.l1.size() * 8 : 0);
  for (std::size_t i = 0; i < references_.l1.size(); ++i) {
    std::uint64_t& raw = references_.l1[i];
    const L1Entry entry(raw);
    const bool wrong = entry.has_table() && is_wrong(entry.l2_table().value, entry.copied());
    // The part of the table that the entry is in must be nothing else.
    const std::uint64_t own_cluster = (table + i * 8) >> g.cluster_bits();
    if (wrong && !repairs) {
      references_.corruption(1,
                             "ERROR OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}",
                             i, raw, refcounts_.lookup(entry.l2_table().value >> g.cluster_bits()));
    } else if (wrong && own_cluster < references_.counts.clusters() &&
               references_.counts.count(own_cluster) == 1) {
      context_.note("Repairing OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}", i,
                    raw, refcounts_.lookup(entry.l2_table().value >> g.cluster_bits()));
      raw ^= L1Entry::kCopied;
      changed.add(i * 8, 8);
      ++repaired_;
    }
    if (repairs) store_big_endian(bytes.data() + i * 8, raw);
  }
  changed.write(context_.storage, {table}, bytes);
}

void CopiedFlags::l2_table(const L2TableRef& table, std::span<std::byte> bytes, bool repairs) {
  const Geometry& g = context_.geometry;
  ChangedBytes changed;
  for (std::uint64_t i = 0; i < g.l2_entries(); ++i) {
    RawL2Entry raw = RawL2Entry::load(bytes.data(), i, g);
    if (raw.descriptor == 0 || !l2_entry(raw, repairs)) continue;
    if (!repairs) {
      // Counted for each way that leads here; the line is written once.
      references_.findings.corruptions += table.active;
      continue;
    }
    raw.store(bytes.data(), i, g);
    changed.add(i << g.l2_entry_bits(), g.l2_entry_bytes());
    ++repaired_;
  }
  changed.write(context_.storage, table.host_offset, bytes);
}

/// True if the entry's flag is wrong; it is then set right in `raw`.
bool CopiedFlags::l2_entry(RawL2Entry& raw, bool repairs) {
  const char* what = repairs ? "Repairing" : "ERROR";
  if ((raw.descriptor & RawL2Entry::kCompressed) != 0) {
    // The walk has reported it.
    if (!repairs || (raw.descriptor & RawL2Entry::kCopied) == 0) return false;
    context_.note("Repairing OFLAG_COPIED compressed cluster: l2_entry={:x}", raw.descriptor);
    raw.descriptor &= ~RawL2Entry::kCopied;
    return true;
  }
  const StandardL2Entry entry(raw, rules_);
  if (!entry.has_host_cluster) return false;
  if (rules_.data_file ? entry.copied : !is_wrong(entry.host_offset, entry.copied)) return false;
  context_.note("{} OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", what, raw.descriptor,
                rules_.data_file
                    ? 1
                    : refcounts_.lookup(entry.host_offset >> context_.geometry.cluster_bits()));
  raw.descriptor ^= RawL2Entry::kCopied;
  return true;
}

std::uint64_t drop_unaligned_preallocations(References& references) {
  CheckContext& context = references.context;
  const Geometry& g = context.geometry;
  const L2Rules rules = l2_check_rules(context.header);
  std::uint64_t dropped = 0;
  const auto visit = [&](const L2TableRef& table, std::span<std::byte> bytes) {
    if (bytes.empty() || !references.is_only_a_table(table)) return;
    ChangedBytes changed;
    for (std::uint64_t i = 0; i < g.l2_entries(); ++i) {
      RawL2Entry raw = RawL2Entry::load(bytes.data(), i, g);
      if ((raw.descriptor & RawL2Entry::kCompressed) != 0) continue;
      const StandardL2Entry entry(raw, rules);
      if (!entry.is_preallocated || entry.is_aligned) continue;
      context.note(
          "Repairing offset={:x}: Preallocated cluster is not properly aligned; L2 entry "
          "corrupted.",
          entry.host_offset);
      raw.descriptor = g.extended_l2() ? 0 : RawL2Entry::kZero;
      raw.store(bytes.data(), i, g);
      changed.add(i << g.l2_entry_bits(), g.l2_entry_bytes());
      ++dropped;
    }
    changed.write(context.storage, table.host_offset, bytes);
  };
  L2TableReader reader(context);
  reader.for_each(references.tables, kDropStage, visit);
  if (dropped != 0) context.storage.flush();
  return dropped;
}

}  // namespace qcowkit::qcow2
