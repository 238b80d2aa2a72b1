// Walks an image from extent to extent, as jobs want to see it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "qcowkit/image.h"

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

/// Where a walk looks for holes below data. `as_reference`: only in files that occupy clearly less
/// than their clusters in use, which tells preallocated images.
enum class HoleSearch { everywhere, as_reference };

/// Asks an image for each of its extents once, however small the steps in which they are used up,
/// and the storage below once for each run of data or hole. Used by one thread at a time; the image
/// and its chain are not written meanwhile.
class ExtentWalk {
 public:
  /// What `below`, if not null, and the images behind it store is not asked for: where no image
  /// above it decides, the run is unallocated.
  ExtentWalk(Image& image, HoleSearch search, const Image* below = nullptr)
      : image_(&image), search_(search), below_(below) {}

  Image& image() const noexcept { return *image_; }

  /// What starts at `guest_offset`, which lies within the disk. Cheap where the walk goes forward.
  StoredRun at(std::uint64_t guest_offset);

 private:
  void map(std::uint64_t guest_offset);
  Extent map_above(std::uint64_t guest_offset, std::uint64_t length_bytes) const;
  void look_for_hole();
  bool has_holes(std::uint32_t depth, const Storage* storage);

  Image* image_;
  HoleSearch search_;
  const Image* below_;
  /// By depth; empty where the layer has not been looked at.
  std::vector<std::optional<bool>> layer_has_holes_;

  std::uint64_t guest_offset_ = 0;  // of run_
  StoredRun run_;

  // What the storage said last.
  const Storage* storage_ = nullptr;
  std::uint64_t storage_begin_ = 0;
  std::uint64_t storage_end_ = 0;
  bool storage_is_hole_ = false;
};

}  // namespace qcowkit
