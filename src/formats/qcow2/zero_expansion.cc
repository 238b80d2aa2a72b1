#include "formats/qcow2/zero_expansion.h"

#include <unordered_map>
#include <vector>

#include "base/buffer.h"
#include "formats/qcow2/cluster_tree.h"
#include "formats/qcow2/l1_entry.h"
#include "formats/qcow2/l1_table.h"
#include "formats/qcow2/snapshot_table.h"

namespace qcowkit::qcow2 {

namespace {

class Expansion {
 public:
  Expansion(Metadata& metadata, bool has_backing_file, const WriteZeroCluster& zero)
      : metadata_(metadata),
        rules_(metadata.map().rules()),
        has_backing_file_(has_backing_file),
        zero_(zero) {}

  void run() {
    add_tables(metadata_.map().l1_table());
    for (const SnapshotEntry& entry :
         read_snapshot_table(metadata_.storage(), metadata_.header()).entries) {
      add_tables(load_l1_table(metadata_.storage(), entry.l1_table_offset, entry.l1_size));
    }
    for (const auto& [host_offset, use] : tables_) expand_table({host_offset}, use);
    metadata_.map().adopt(metadata_.map().l1_table(), metadata_.header());
  }

 private:
  struct Use {
    std::uint64_t l1_index = 0;    // in all L1 tables the same: they are copies of each other
    std::uint64_t references = 0;  // L1 entries
  };

  void add_tables(const std::vector<std::uint64_t>& l1_table) {
    for (std::size_t i = 0; i < l1_table.size(); ++i) {
      const L1Entry entry(l1_table[i]);
      if (!entry.has_table()) continue;
      Use& use = tables_[entry.l2_table().value];
      use.l1_index = i;
      ++use.references;
    }
  }

  void expand_table(HostOffset table, const Use& use) {
    const Geometry& g = rules_.geometry;
    Buffer bytes(g.cluster_size());
    metadata_.storage().read(table.value, bytes.span());
    std::vector<HostRange> dropped;
    bool changed = false;
    for (std::uint64_t i = 0; i < g.l2_entries(); ++i) {
      const RawL2Entry raw = RawL2Entry::load(bytes.data(), i, g);
      const L2Mapping mapping = metadata_.map().decode(raw, {});
      if (mapping.kind != L2Mapping::Kind::standard || mapping.zero == 0) continue;
      const GuestOffset guest_offset{use.l1_index * g.l1_entry_covers() + (i << g.cluster_bits())};
      expanded(mapping, guest_offset, use, dropped).encode(rules_).store(bytes.data(), i, g);
      changed = true;
    }
    if (!changed) return;
    // The clusters' refcounts are durable before the table points at them, and count down after it
    // does not any more.
    metadata_.flush();
    metadata_.storage().write(table.value, bytes.span());
    metadata_.flush();
    metadata_.refcounts().drop_references(dropped);
  }

  /// What an entry becomes; the host cluster that it loses goes to `dropped`.
  L2Mapping expanded(const L2Mapping& old, GuestOffset guest_offset, const Use& use,
                     std::vector<HostRange>& dropped) {
    const std::uint64_t cluster_size = rules_.geometry.cluster_size();
    L2Mapping mapping;
    if (has_backing_file_) {
      const bool is_own = old.has_host_cluster && use.references == 1 &&
                          metadata_.refcounts().refcount_of(old.host_offset) == 1;
      mapping.host_offset = is_own ? old.host_offset : metadata_.allocate(1).host_offset;
      mapping.has_host_cluster = true;
      mapping.allocated = 1;
      mapping.copied = use.references == 1;
      zero_(guest_offset, mapping.host_offset);
      for (std::uint64_t i = 1; i < use.references; ++i) {
        const HostRange range{mapping.host_offset, cluster_size};
        metadata_.refcounts().add_references(std::span(&range, 1));
      }
      if (is_own) return mapping;
    }
    if (old.has_host_cluster) {
      for (std::uint64_t i = 0; i < use.references; ++i) {
        dropped.push_back({old.host_offset, cluster_size});
      }
    }
    return mapping;
  }

  Metadata& metadata_;
  const L2Rules rules_;
  const bool has_backing_file_;
  const WriteZeroCluster& zero_;
  std::unordered_map<std::uint64_t, Use> tables_;
};

}  // namespace

void expand_zero_flags(Metadata& metadata, bool has_backing_file, const WriteZeroCluster& zero) {
  Expansion(metadata, has_backing_file, zero).run();
}

}  // namespace qcowkit::qcow2
