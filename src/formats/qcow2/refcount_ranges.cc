// Refcounts of many clusters at once, slice by slice.
#include <fmt/core.h>

#include <algorithm>
#include <type_traits>

#include "formats/qcow2/corrupt_image.h"
#include "formats/qcow2/refcount_block.h"
#include "formats/qcow2/refcounts.h"

namespace qcowkit::qcow2 {

namespace {

/// The refcounts of a part of a slice.
struct Part {
  std::byte* slice;
  std::uint64_t index;  ///< of the first refcount in the slice
  std::uint64_t count;
};

/// Calls `work` with the width as a constant, for loops that are made for it.
template <typename Work>
auto with_width(std::uint32_t refcount_order, Work work) {
  switch (refcount_order) {
    case 0:
      return work(std::integral_constant<std::uint32_t, 0>{});
    case 1:
      return work(std::integral_constant<std::uint32_t, 1>{});
    case 2:
      return work(std::integral_constant<std::uint32_t, 2>{});
    case 3:
      return work(std::integral_constant<std::uint32_t, 3>{});
    case 4:
      return work(std::integral_constant<std::uint32_t, 4>{});
    case 5:
      return work(std::integral_constant<std::uint32_t, 5>{});
    default:
      return work(std::integral_constant<std::uint32_t, 6>{});
  }
}

struct Bounds {
  std::uint64_t smallest = ~std::uint64_t{0};
  std::uint64_t largest = 0;
};

Bounds bounds_of(const Part& part, std::uint32_t refcount_order) {
  return with_width(refcount_order, [&](auto order) {
    Bounds bounds;
    for (std::uint64_t i = 0; i < part.count; ++i) {
      const std::uint64_t refcount = load_refcount(part.slice, part.index + i, order());
      bounds.smallest = std::min(bounds.smallest, refcount);
      bounds.largest = std::max(bounds.largest, refcount);
    }
    return bounds;
  });
}

/// Adds 1 or -1 to all; they stay within their width.
void add_to_all(const Part& part, std::uint32_t refcount_order, std::int64_t change) {
  with_width(refcount_order, [&](auto order) {
    for (std::uint64_t i = part.index; i < part.index + part.count; ++i) {
      const std::uint64_t refcount = load_refcount(part.slice, i, order());
      store_refcount(part.slice, i, order(), refcount + static_cast<std::uint64_t>(change));
    }
  });
}

/// Sets refcounts to 1 up to the first that is not 0. Returns how many.
std::uint64_t take_free_in(const Part& part, std::uint32_t refcount_order) {
  return with_width(refcount_order, [&](auto order) {
    std::uint64_t taken = 0;
    while (taken < part.count && load_refcount(part.slice, part.index + taken, order()) == 0) {
      store_refcount(part.slice, part.index + taken, order(), 1);
      ++taken;
    }
    return taken;
  });
}

}  // namespace

/// Calls `visit(part, first_cluster, slice)` for the clusters from `first` to before `end`, and
/// with a null slice where there is no refcount block.
template <typename Visit>
void Refcounts::for_each_part(std::uint64_t first, std::uint64_t end, Visit visit) {
  const std::uint64_t per_slice = blocks_.slice_bytes() * 8 >> geometry_.refcount_order();
  while (first < end) {
    const std::uint64_t in_slice = first & (per_slice - 1);
    const std::uint64_t count = std::min(end - first, per_slice - in_slice);
    MetadataCache::Slice* slice = nullptr;
    if (has_block(first >> geometry_.refcount_block_bits())) slice = &slice_with(first);
    visit(Part{slice == nullptr ? nullptr : slice->data(), in_slice, count}, first, slice);
    first += count;
  }
}

/// Counts the clusters from `first` on as used, up to the first that is in use already and at most
/// to `end`. Returns up to where. They have refcount blocks.
std::uint64_t Refcounts::take_free(std::uint64_t first, std::uint64_t end) {
  const std::uint32_t order = geometry_.refcount_order();
  const std::uint64_t per_slice = blocks_.slice_bytes() * 8 >> order;
  while (first < end) {
    MetadataCache::Slice& slice = slice_with(first);
    const std::uint64_t in_slice = first & (per_slice - 1);
    const Part part{slice.data(), in_slice, std::min(end - first, per_slice - in_slice)};
    const std::uint64_t taken = take_free_in(part, order);
    if (taken != 0) blocks_.mark_dirty(slice);
    first += taken;
    if (taken < part.count) break;
  }
  return first;
}

/// Names the first cluster of a part that no reference can be added to.
void Refcounts::refuse_to_count_up(std::uint64_t cluster, std::uint64_t refcount) const {
  const std::uint64_t offset = cluster_offset(cluster).value;
  if (refcount == 0) {
    throw CorruptImage(storage_,
                       fmt::format("refcount block: host cluster {:#x} is in use, but its refcount "
                                   "is 0",
                                   offset));
  }
  throw Error(Errc::limit_exceeded,
              fmt::format("refcount block: the refcount of host cluster {:#x} is {}, the largest "
                          "that {} bits can hold",
                          offset, refcount, geometry_.refcount_bits()));
}

/// `done` tells up to which cluster it got, when something is thrown.
void Refcounts::count_up(std::uint64_t first, std::uint64_t end, std::uint64_t& done) {
  const std::uint32_t order = geometry_.refcount_order();
  const std::uint64_t max = geometry_.refcount_max();
  const auto count_up_part = [&](const Part& part, std::uint64_t cluster,
                                 MetadataCache::Slice* slice) REQUIRES(mutex_) {
    done = cluster;
    if (slice == nullptr) refuse_to_count_up(cluster, 0);
    const Bounds bounds = bounds_of(part, order);
    if (bounds.smallest == 0 || bounds.largest == max) {
      for (std::uint64_t i = part.index;; ++i, ++cluster) {
        const std::uint64_t refcount = load_refcount(part.slice, i, order);
        if (refcount == 0 || refcount == max) refuse_to_count_up(cluster, refcount);
      }
    }
    add_to_all(part, order, 1);
    blocks_.mark_dirty(*slice);
    done = cluster + part.count;
  };
  for_each_part(first, end, count_up_part);
}

void Refcounts::add_references(std::span<const HostRange> ranges) {
  raise_update();
  const MutexLock lock(mutex_);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::uint64_t first = cluster_index(ranges[i].host_offset);
    std::uint64_t done = first;
    try {
      count_up(first, end_cluster(ranges[i].host_offset, ranges[i].bytes), done);
    } catch (...) {
      for (std::uint64_t c = first; c < done; ++c) count_down_cluster(c);
      for (const HostRange& range : ranges.first(i)) release_locked(range.host_offset, range.bytes);
      throw;
    }
  }
}

void Refcounts::drop(std::uint64_t first, std::uint64_t end, FreedBy by) {
  const std::uint32_t order = geometry_.refcount_order();
  const auto drop_part = [&](const Part& part, std::uint64_t cluster,
                             MetadataCache::Slice* slice) REQUIRES(mutex_) {
    if (slice == nullptr) return;
    blocks_.mark_dirty(*slice);
    if (bounds_of(part, order).smallest > 1) {
      add_to_all(part, order, -1);
      return;
    }
    // The last reference goes another way; a 0 is a damage that `check` tells of.
    for (std::uint64_t i = 0; i < part.count; ++i) {
      const std::uint64_t refcount = load_refcount(part.slice, part.index + i, order);
      if (refcount > 1) store_refcount(part.slice, part.index + i, order, refcount - 1);
      if (refcount == 1) {
        defer_free_locked(cluster_offset(cluster + i), geometry_.cluster_size(), by);
      }
    }
  };
  for_each_part(first, end, drop_part);
}

void Refcounts::drop_references(std::span<const HostRange> ranges, FreedBy by) {
  raise_update();
  const MutexLock lock(mutex_);
  for (const HostRange& range : ranges) {
    drop(cluster_index(range.host_offset), end_cluster(range.host_offset, range.bytes), by);
  }
}

void Refcounts::refcounts_of(HostOffset host_offset, std::span<std::uint64_t> into) {
  const MutexLock lock(mutex_);
  const std::uint64_t begin = cluster_index(host_offset);
  for_each_part(begin, begin + into.size(),
                [&](const Part& part, std::uint64_t cluster, const MetadataCache::Slice* slice) {
                  const auto out = into.subspan(cluster - begin, part.count);
                  std::ranges::fill(out, 0);
                  if (slice == nullptr) return;
                  with_width(geometry_.refcount_order(), [&](auto order) {
                    for (std::uint64_t i = 0; i < part.count; ++i) {
                      out[i] = load_refcount(part.slice, part.index + i, order());
                    }
                  });
                });
}

}  // namespace qcowkit::qcow2
