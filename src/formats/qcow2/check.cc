#include "formats/qcow2/check.h"

#include <optional>
#include <utility>
#include <vector>

#include "formats/qcow2/check_copied.h"
#include "formats/qcow2/check_refcounts.h"
#include "formats/qcow2/check_references.h"
#include "formats/qcow2/check_repair.h"
#include "formats/qcow2/check_walk.h"

namespace qcowkit::qcow2 {

namespace {

/// A check and, if wanted, repair of one image.
///
/// `look` never writes. The repairs, in an order in which a crash leaves every cluster with at
/// least the refcount that it had or needs:
///
///   1. references that cannot be right are taken out of L2 entries        flush
///   2. refcounts are set right in place, or in new structures            flush (and switch, flush)
///   3. COPIED flags are set right                                        flush
///   4. a complete snapshot table is written, where entries lack fields     flush each step
///   5. the dirty and corrupt bits are cleared once all is well           flush
///
/// Between them the image is looked at again, so each works on what is on disk.
class Check {
 public:
  Check(Storage& storage, const Header& header, const CheckOptions& options)
      : context_(storage, header, options) {}

  CheckReport run();

 private:
  enum class Flags { ignore, report };
  void look(Flags flags);
  bool is_clean() const noexcept {
    const Findings& found = references_->findings;
    return found.corruptions + found.leaks + found.check_errors == 0 && !references_->claims_wrong;
  }
  bool repairs_all() const noexcept { return context_.options.repair == Repair::all; }

  void repair_in_rounds();
  void repair();
  void mend_references();
  void mend_refcounts_somehow();
  void rebuild();
  void mend_flags();
  void mend_snapshot_table();
  void clear_feature_bits();
  void discard_freed();
  CheckReport report();

  CheckContext context_;
  std::optional<References> references_;
  std::optional<RefcountStructure> refcounts_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> freed_;  // clusters: first, number
  std::uint64_t corruptions_fixed_ = 0;
  std::uint64_t leaks_fixed_ = 0;
};

CheckReport Check::run() {
  const bool repairs = context_.options.repair != Repair::none;
  if (repairs) context_.set_look({0.0, 0.5});
  // Flags depend on refcounts, so a repair looks at them once these are right.
  look(repairs ? Flags::ignore : Flags::report);
  if (repairs) {
    if (!is_clean()) repair_in_rounds();
    clear_feature_bits();
    discard_freed();
  }
  context_.set_look({0.0, 1.0});
  context_.poll({0.0, 1.0}, 1.0);
  return report();
}

void Check::look(Flags flags) {
  refcounts_.reset();
  references_.reset();
  context_.measure();
  references_.emplace(context_);
  refcounts_.emplace(context_);
  collect_references(*references_);
  refcounts_->collect(*references_);
  refcounts_->compare(*references_);
  if (flags == Flags::report && references_->claims_wrong) {
    CopiedFlags(*references_, *refcounts_).report();
  }
}

/// What one repair sets right may make sense of something else: a table that was also a refcount
/// block until these were rebuilt may be mended then.
void Check::repair_in_rounds() {
  constexpr int kRoundsMax = 4;
  for (int round = 0; round < kRoundsMax; ++round) {
    if (round != 0) look(Flags::ignore);
    const std::uint64_t fixed_before = corruptions_fixed_ + leaks_fixed_;
    repair();
    const bool has_changed = corruptions_fixed_ + leaks_fixed_ != fixed_before;
    if (!repairs_all() || references_->findings.corruptions == 0 || !has_changed) return;
  }
}

void Check::repair() {
  if (repairs_all()) mend_references();
  mend_refcounts_somehow();
  mend_flags();
  mend_snapshot_table();
  context_.set_look({0.5, 1.0});
  look(Flags::report);
}

void Check::mend_references() {
  if (references_->unaligned_preallocations == 0) return;
  const std::uint64_t dropped = drop_unaligned_preallocations(*references_);
  if (dropped == 0) return;
  corruptions_fixed_ += dropped;
  look(Flags::ignore);
}

void Check::mend_refcounts_somehow() {
  if (refcounts_->is_damaged() || (repairs_all() && refcounts_->lacks_blocks())) {
    if (repairs_all() && !references_->incomplete) {
      rebuild();
    } else {
      context_.note("ERROR need to rebuild refcount structures");
    }
    return;
  }
  const RefcountChanges changes = mend_refcounts(
      *references_, *refcounts_, {.raises = repairs_all(), .lowers = !references_->incomplete});
  corruptions_fixed_ += changes.raised;
  leaks_fixed_ += changes.lowered;
  freed_.insert(freed_.end(), changes.freed.begin(), changes.freed.end());
}

void Check::rebuild() {
  // How much larger than it is a file may be made, to have room for what points behind its end.
  const std::uint64_t clusters_max = 16 * context_.file_clusters + 1024;
  for (;;) {
    const Findings found = references_->findings;
    const RebuildOutcome outcome = rebuild_refcounts(*references_, *refcounts_);
    if (outcome.done) {
      corruptions_fixed_ += found.refcount_corruptions;
      leaks_fixed_ += found.leaks;
      context_.measure();
      refcounts_.emplace(context_);
      return;
    }
    const std::uint64_t wanted = outcome.file_clusters_wanted;
    if (wanted == 0 || wanted > clusters_max || !context_.storage.can_grow()) return;
    context_.note(
        "Repairing clusters {} to {}: the file ends before them, they will read as zeroes",
        context_.file_clusters, wanted - 1);
    context_.storage.resize(wanted << context_.geometry.cluster_bits(), Preallocation::off);
    look(Flags::ignore);
    const Findings& now = references_->findings;
    corruptions_fixed_ += (found.corruptions - found.refcount_corruptions) -
                          (now.corruptions - now.refcount_corruptions);
  }
}

void Check::mend_flags() {
  const Findings& found = references_->findings;
  // Without other repairs the refcounts can be relied on only if nothing is corrupt.
  const bool may = repairs_all() || found.corruptions + found.check_errors == 0;
  if (!may || !references_->claims_wrong) return;
  corruptions_fixed_ += CopiedFlags(*references_, *refcounts_).repair();
}

void Check::mend_snapshot_table() {
  const bool may = repairs_all() && !refcounts_->is_damaged() && !refcounts_->lacks_blocks();
  if (!may || references_->incomplete_snapshots == 0) return;
  if (complete_snapshot_table(*references_, *refcounts_)) {
    corruptions_fixed_ += references_->incomplete_snapshots;
  }
}

void Check::clear_feature_bits() {
  const Findings& found = references_->findings;
  const std::uint64_t features = context_.header.incompatible_features;
  std::uint64_t done = 0;
  if (found.corruptions + found.check_errors == 0) {
    done = incompatible::kDirty | incompatible::kCorrupt;
  } else if (repairs_all() && found.refcount_corruptions + found.check_errors == 0) {
    done = incompatible::kDirty;  // other damage has nothing to do with it
  }
  if ((features & done) != 0) write_incompatible_features(context_, features & ~done);
}

/// Gives the host space of freed clusters back; not while the image is damaged: what it seems to
/// have leaked may be all that is left of something.
void Check::discard_freed() {
  const Findings& found = references_->findings;
  if (found.corruptions + found.check_errors != 0) return;
  const std::uint32_t bits = context_.geometry.cluster_bits();
  for (const auto& [first, n] : freed_) {
    // Not if a later round has found a use for them.
    bool is_free = true;
    for (std::uint64_t i = 0; i < n && is_free; ++i)
      is_free = references_->counts.count(first + i) == 0;
    if (!is_free) continue;
    context_.storage.discard(first << bits, n << bits);
  }
}

CheckReport Check::report() {
  const Findings& found = references_->findings;
  CheckReport report;
  report.corruptions = found.corruptions;
  report.leaks = found.leaks;
  report.check_errors = found.check_errors;
  report.corruptions_fixed = corruptions_fixed_;
  report.leaks_fixed = leaks_fixed_;
  report.total_clusters = context_.geometry.clusters_for(context_.header.size);
  report.allocated_clusters = found.allocated_clusters;
  report.fragmented_clusters = found.fragmented_clusters;
  report.compressed_clusters = found.compressed_clusters;
  report.image_end_offset = (found.highest_cluster + 1) << context_.geometry.cluster_bits();
  report.messages = std::move(context_.messages);
  return report;
}

}  // namespace

CheckReport check_image(Storage& storage, const Header& header, const CheckOptions& options) {
  return Check(storage, header, options).run();
}

}  // namespace qcowkit::qcow2
