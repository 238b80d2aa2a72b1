// What a disk is made of, summed up in cells of equal length: what pictures are drawn from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::cli {

/// How bytes of a disk are stored.
enum class Content : std::uint8_t {
  data,         ///< in clusters of an image of the chain
  compressed,   ///< the same, compressed
  zero,         ///< known to read as zeroes
  unallocated,  ///< in no image of the chain
};

/// So many bytes of a cell that are stored alike.
struct Share {
  Content content = Content::unallocated;
  std::uint32_t depth = 0;  ///< of the image that has them; 0 where none does
  std::uint64_t bytes = 0;
};

/// Where data lies: the disk from left to right, the files from top to bottom.
struct PlacementGrid {
  static constexpr std::size_t kColumns = 256;
  static constexpr std::size_t kRows = 128;
  static constexpr std::uint32_t kNobody = UINT32_MAX;

  std::uint64_t host_bytes = 0;  ///< what the rows stand for together: the longest of the files
  /// By rows: the smallest depth of the images that have data there, or `kNobody`.
  std::vector<std::uint32_t> depths = std::vector<std::uint32_t>(kColumns * kRows, kNobody);
};

/// An image of the chain.
struct SurveyedLayer {
  std::string filename;
  std::string format;
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t file_bytes = 0;        ///< how long the file is that holds the data
  std::uint64_t data_bytes = 0;        ///< of the disk, that this image has
  std::uint64_t compressed_bytes = 0;  ///< of the disk, that it has compressed
  /// Runs of data that follow each other both on the disk and in the file.
  std::uint64_t fragments = 0;
};

struct DiskSurvey {
  std::uint64_t disk_bytes = 0;
  std::uint64_t cell_bytes = 0;           ///< a power of two; the last cell may be shorter
  std::vector<std::vector<Share>> cells;  ///< in guest order; the largest share of each comes first
  std::vector<SurveyedLayer> layers;      ///< by depth
  std::uint64_t zero_bytes = 0;
  std::uint64_t unallocated_bytes = 0;
  PlacementGrid placement;
};

/// Asks the image for the whole of its disk, which is read nowhere, and sums the answers up in at
/// most `cells_max` cells; memory is bounded by these. The image and its chain are not written
/// meanwhile.
DiskSurvey survey_disk(Image& image, std::size_t cells_max, const ProgressSink& progress);

}  // namespace qcowkit::cli
