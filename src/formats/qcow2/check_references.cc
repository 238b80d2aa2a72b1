#include "formats/qcow2/check_references.h"

#include <algorithm>

namespace qcowkit::qcow2 {

void DanglingClusters::add(std::uint64_t first, std::uint64_t n) {
  if (too_many_) return;
  if (!ranges_.empty() && ranges_.back().second == first) {
    ranges_.back().second = first + n;
    return;
  }
  ranges_.emplace_back(first, first + n);
  if (ranges_.size() < 2 * kRangesMax) return;
  merge();
  too_many_ = ranges_.size() > kRangesMax;
}

void DanglingClusters::merge() {
  std::sort(ranges_.begin(), ranges_.end());
  std::size_t kept = 0;
  for (const auto& range : ranges_) {
    if (kept > 0 && range.first <= ranges_[kept - 1].second) {
      ranges_[kept - 1].second = std::max(ranges_[kept - 1].second, range.second);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
}

std::uint64_t DanglingClusters::gap(std::uint64_t from, std::uint64_t n) {
  if (too_many_) return kNowhere;
  merge();
  for (const auto& [first, end] : ranges_) {
    if (end <= from) continue;
    if (first >= from && first - from >= n) return from;
    from = std::max(from, end);
  }
  return from;
}

References::References(CheckContext& check_context)
    : context(check_context),
      // One cluster more than the file has: see `add_region`.
      counts(check_context.file_clusters + 1,
             std::uint64_t{check_context.header.nb_snapshots} + 1) {}

bool References::add_region(std::uint64_t host_offset, std::uint64_t bytes, std::uint64_t weight,
                            std::uint8_t claims) {
  if (bytes == 0) return true;
  const Geometry& g = context.geometry;
  const std::uint64_t first = host_offset >> g.cluster_bits();
  const auto end = checked_add(host_offset, bytes);
  if (!end || *end >= context.file_bytes + g.cluster_size()) {
    corruption(
        weight,
        "ERROR: counting reference for region exceeding the end of the file by one cluster or "
        "more: offset {:#x} size {:#x}",
        host_offset, bytes);
    dangling.add(first, g.clusters_for(g.in_cluster(host_offset) + bytes));
    claims_wrong |= claims != claim::kNone;
    return false;
  }
  const std::uint64_t last = (*end - 1) >> g.cluster_bits();
  counts.add(first, last - first + 1, weight, claims);
  return true;
}

void References::unreadable(const Error& error) {
  incomplete = true;
  if (error.code().category() == error_category()) {
    corruption(1, "ERROR {}", error.message());
  } else {
    ++findings.check_errors;
    context.note("ERROR {}", error.message());
  }
}

bool References::is_only_a_table(const L2TableRef& table) const noexcept {
  const Geometry& g = context.geometry;
  const std::uint64_t cluster = table.host_offset.value >> g.cluster_bits();
  return g.in_cluster(table.host_offset.value) == 0 && cluster < counts.clusters() &&
         counts.count(cluster) == std::uint64_t{table.active} + table.inactive;
}

}  // namespace qcowkit::qcow2
