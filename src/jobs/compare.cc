// Compares what two guests would read, without reading what is known to be zeroes.
#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/sector.h"
#include "base/worker_pool.h"
#include "base/zero_detect.h"
#include "jobs/extent_walk.h"
#include "jobs/progress.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

namespace {

using Verdict = CompareResult::Verdict;

/// Two buffers of this size stay in the processor's cache.
constexpr std::uint64_t kChunkBytes = 256 << 10;

/// One side of the comparison: an image, which reads as zeroes behind its end. With `is_strict`,
/// runs that follow each other and are stored alike are one, as the reference takes them.
class Side {
 public:
  Side(Image& image, bool is_second, bool is_strict)
      : is_second_(is_second),
        walk_(image, is_strict ? HoleSearch::as_reference : HoleSearch::everywhere),
        is_strict_(is_strict),
        size_(image.virtual_size()) {
    const std::uint64_t cluster_bytes = image.cluster_size();
    table_covers_ = cluster_bytes == 0 ? std::uint64_t{1} << 63 : cluster_bytes / 8 * cluster_bytes;
  }

  Image& image() const noexcept { return walk_.image(); }
  std::uint64_t size() const noexcept { return size_; }

  /// What starts at `guest_offset`, which never goes backward.
  StoredRun at(std::uint64_t guest_offset) {
    if (guest_offset >= size_) {
      return {.length_bytes = std::numeric_limits<std::uint64_t>::max() - guest_offset};
    }
    try {
      return stored_at(guest_offset);
    } catch (const Error& error) {
      throw CompareError(error, CompareError::What::allocation, is_second_, guest_offset);
    }
  }

  bool ends_with_disk(std::uint64_t guest_offset, const StoredRun& run) const noexcept {
    return guest_offset + run.length_bytes == size_;
  }

 private:
  StoredRun stored_at(std::uint64_t guest_offset) {
    if (!is_strict_) return walk_.at(guest_offset);
    if (guest_offset >= begin_ + run_.length_bytes) join_runs(guest_offset);
    StoredRun rest = run_;
    rest.length_bytes -= guest_offset - begin_;
    return rest;
  }
  // The reference looks no further than one L2 table reaches.
  void join_runs(std::uint64_t guest_offset) {
    begin_ = guest_offset;
    run_ = walk_.at(guest_offset);
    const std::uint64_t table_end = align_down(guest_offset, table_covers_) + table_covers_;
    const std::uint64_t end = std::min(size_, table_end);
    run_.length_bytes = std::min(run_.length_bytes, end - begin_);
    while (begin_ + run_.length_bytes < end) {
      const StoredRun next = walk_.at(begin_ + run_.length_bytes);
      if (!is_continued_by(next)) break;
      run_.length_bytes = std::min(run_.length_bytes + next.length_bytes, end - begin_);
    }
  }
  bool is_continued_by(const StoredRun& next) const noexcept {
    return next.kind == run_.kind && next.depth == run_.depth &&
           next.is_storage_hole == run_.is_storage_hole && next.storage == run_.storage &&
           next.has_host_offset == run_.has_host_offset &&
           (!next.has_host_offset || next.host_offset == run_.host_offset + run_.length_bytes);
  }

  const bool is_second_;
  ExtentWalk walk_;
  const bool is_strict_;
  const std::uint64_t size_;
  std::uint64_t table_covers_;  ///< guest bytes that one L2 table maps
  std::uint64_t begin_ = 0;
  StoredRun run_;
};

/// A range to be looked into, or where the comparison ends.
struct CompareItem {
  std::uint64_t begin = 0;
  std::uint64_t length_bytes = 0;
  Image* first = nullptr;   ///< null: reads as zeroes
  Image* second = nullptr;  ///< null: reads as zeroes
  std::optional<CompareResult> result;
  Buffer first_bytes;
  Buffer second_bytes;
};

/// Returns nothing for a side that reads as zeroes.
std::span<const std::byte> read_side(const CompareItem& item, bool is_second, Buffer& buffer) {
  Image* const image = is_second ? item.second : item.first;
  if (image == nullptr) return {};
  if (buffer.size() == 0) buffer = Buffer(kChunkBytes);
  const std::span<std::byte> into = buffer.span().first(item.length_bytes);
  try {
    image->read(item.begin, into);
  } catch (const Error& error) {
    throw CompareError(error, CompareError::What::data, is_second, item.begin);
  }
  return into;
}

/// Returns the index of the first byte that differs. An empty side is all zeroes.
std::optional<std::uint64_t> first_difference(std::span<const std::byte> a,
                                              std::span<const std::byte> b) {
  const auto differs = [&](std::uint64_t begin, std::uint64_t length_bytes) {
    if (a.empty()) return !is_zero(b.subspan(begin, length_bytes));
    if (b.empty()) return !is_zero(a.subspan(begin, length_bytes));
    return std::memcmp(a.data() + begin, b.data() + begin, length_bytes) != 0;
  };
  std::uint64_t length_bytes = std::max(a.size(), b.size());
  if (!differs(0, length_bytes)) return std::nullopt;
  std::uint64_t begin = 0;
  while (length_bytes > 1) {
    const std::uint64_t half = length_bytes / 2;
    if (differs(begin, half)) {
      length_bytes = half;
    } else {
      begin += half;
      length_bytes -= half;
    }
  }
  return begin;
}

class CompareJob {
 public:
  CompareJob(Image& first, Image& second, const CompareOptions& options)
      : options_(options),
        first_(first, false, options.strict),
        second_(second, true, options.strict),
        common_bytes_(std::min(first_.size(), second_.size())),
        total_bytes_(std::max(first_.size(), second_.size())) {}

  CompareResult run();

 private:
  bool next(CompareItem& item);
  bool is_stored_alike(const StoredRun& first, const StoredRun& second);
  static void look_into(CompareItem& item);
  CompareResult ended_with(const CompareResult& found) const;

  const CompareOptions& options_;
  Side first_;
  Side second_;
  const std::uint64_t common_bytes_;
  const std::uint64_t total_bytes_;
  std::uint64_t position_ = 0;
  /// With `strict`: where an extent of one image ends with the disk and that of the other, alike
  /// otherwise, does not. If the images turn out to differ, this is where.
  std::optional<std::uint64_t> ends_apart_;
};

CompareResult CompareJob::run() {
  if (options_.strict && first_.size() != second_.size()) {
    return {Verdict::sizes_differ, common_bytes_, false};
  }
  ProgressMeter progress(options_.progress, total_bytes_);
  std::optional<CompareResult> found;
  parallel_for_ordered<CompareItem>(
      {.workers = 0, .stop = options_.stop}, [&](CompareItem& item) { return next(item); },
      [](CompareItem& item) { look_into(item); },
      [&](CompareItem& item) {
        found = item.result;
        if (found) return false;
        progress.advance_to(item.begin + item.length_bytes);
        return true;
      });
  if (found) return ended_with(*found);
  progress.finish();
  return {Verdict::identical, 0, first_.size() != second_.size()};
}

CompareResult CompareJob::ended_with(const CompareResult& found) const {
  if (ends_apart_ && *ends_apart_ <= found.guest_offset) {
    return {Verdict::allocation_differs, *ends_apart_, false};
  }
  CompareResult result = found;
  // The reference warns when it gets to where only one image goes on.
  result.size_warning = first_.size() != second_.size() && found.guest_offset >= common_bytes_;
  return result;
}

// Finds the next range in which at least one side has data.
bool CompareJob::next(CompareItem& item) {
  item.result.reset();
  while (position_ < total_bytes_) {
    const StoredRun first = first_.at(position_);
    const StoredRun second = second_.at(position_);
    item.begin = position_;
    item.length_bytes = 0;
    if (options_.strict && !is_stored_alike(first, second)) {
      item.first = item.second = nullptr;
      item.result = {Verdict::allocation_differs, position_, false};
      position_ = total_bytes_;
      return true;
    }
    std::uint64_t end =
        std::min(total_bytes_, position_ + std::min(first.length_bytes, second.length_bytes));
    item.first = first.reads_as_zeroes() ? nullptr : &first_.image();
    item.second = second.reads_as_zeroes() ? nullptr : &second_.image();
    if (item.first != nullptr || item.second != nullptr) {
      end = std::min(end, align_down(position_, kChunkBytes) + kChunkBytes);
      item.length_bytes = end - position_;
      position_ = end;
      return true;
    }
    position_ = end;
  }
  return false;
}

// What `strict` asks for: the same kind of extent, with host space of its own or without.
bool CompareJob::is_stored_alike(const StoredRun& first, const StoredRun& second) {
  if (!ends_apart_ &&
      first_.ends_with_disk(position_, first) != second_.ends_with_disk(position_, second)) {
    ends_apart_ = position_;
  }
  return first.kind == second.kind && first.has_host_offset == second.has_host_offset &&
         first.is_storage_hole == second.is_storage_hole;
}

void CompareJob::look_into(CompareItem& item) {
  if (item.length_bytes == 0) return;
  const auto a = read_side(item, false, item.first_bytes);
  const auto b = read_side(item, true, item.second_bytes);
  if (const auto difference = first_difference(a, b)) {
    item.result = {Verdict::content_differs, align_down(item.begin + *difference, kSectorBytes),
                   false};
  }
}

}  // namespace

CompareResult compare(Image& first, Image& second, const CompareOptions& options) {
  return CompareJob(first, second, options).run();
}

}  // namespace qcowkit
