// Walks an image from extent to extent, as jobs want to see it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "qcowkit/image.h"
#include "qcowkit/jobs.h"

namespace qcowkit {

/// An extent, seen from somewhere within it.
struct StoredRun {
  std::uint64_t length_bytes = 0;
  ExtentKind kind = ExtentKind::unallocated;
  std::uint32_t depth = 0;
  /// With `data`: nothing was ever written to the place in `storage` (preallocation leaves such
  /// extents behind), so it is known to be zeroes.
  bool is_storage_hole = false;
  bool has_host_offset = false;
  std::uint64_t host_offset = 0;
  Storage* storage = nullptr;

  bool reads_as_zeroes() const noexcept {
    return kind == ExtentKind::unallocated || kind == ExtentKind::zero || is_storage_hole;
  }
};

/// Where a walk looks for holes below data: in every storage, or where a `HoleFinder` does.
enum class HoleSearch { everywhere, as_reference };

/// Asks an image for each of its extents once, however small the steps in which they are used up,
/// and the storage below once for each run of data or hole. Used by one thread at a time; the image
/// and its chain are not written meanwhile.
class ExtentWalk {
 public:
  /// What `below`, if not null, and the images behind it store is not asked for: where no image
  /// above it decides, the run is unallocated.
  ExtentWalk(Image& image, HoleSearch search, const Image* below = nullptr)
      : image_(&image), below_(below) {
    if (search == HoleSearch::as_reference) holes_.emplace(image);
  }

  Image& image() const noexcept { return *image_; }

  /// What starts at `guest_offset`, which lies within the disk. Cheap where the walk goes forward.
  StoredRun at(std::uint64_t guest_offset);

 private:
  void map(std::uint64_t guest_offset);
  Extent extent_at(std::uint64_t guest_offset);
  Extent map_above(std::uint64_t guest_offset, std::uint64_t length_bytes) const;
  void look_for_hole();

  Image* image_;
  const Image* below_;
  std::optional<HoleFinder> holes_;  ///< empty: holes are looked for everywhere

  // What the image was asked for last: `ahead_[next_]` up to before `ahead_[ahead_count_]`.
  std::array<Extent, 64> ahead_;
  std::size_t ahead_count_ = 0;
  std::size_t next_ = 0;

  std::uint64_t guest_offset_ = 0;  // of run_
  StoredRun run_;

  // What the storage said last.
  const Storage* storage_ = nullptr;
  std::uint64_t storage_begin_ = 0;
  std::uint64_t storage_end_ = 0;
  bool storage_is_hole_ = false;
};

}  // namespace qcowkit
