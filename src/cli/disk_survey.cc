// What a disk is made of, summed up in cells of equal length: what pictures are drawn from.
#include "cli/disk_survey.h"

#include <algorithm>
#include <bit>

#include "base/sector.h"
#include "cli/extents.h"

namespace qcowkit::cli {

namespace {

Content content_of(const Extent& extent, bool is_hole) {
  switch (extent.kind) {
    case ExtentKind::unallocated:
      return Content::unallocated;
    case ExtentKind::zero:
      return Content::zero;
    case ExtentKind::data:
      return is_hole ? Content::zero : Content::data;
    case ExtentKind::compressed:
      return Content::compressed;
  }
  return Content::unallocated;
}

bool belongs_to_layer(Content content) {
  return content == Content::data || content == Content::compressed;
}

class Surveyor {
 public:
  Surveyor(Image& image, std::size_t cells_max) {
    survey_.disk_bytes = image.virtual_size();
    survey_.cell_bytes =
        std::bit_ceil(std::max(kSectorBytes, (survey_.disk_bytes + cells_max - 1) / cells_max));
    survey_.cells.resize((survey_.disk_bytes + survey_.cell_bytes - 1) / survey_.cell_bytes);
    for (Image* layer = &image; layer != nullptr; layer = layer->backing()) {
      survey_.layers.push_back({.filename = layer->filename(),
                                .format = layer->format(),
                                .virtual_size_bytes = layer->virtual_size(),
                                .file_bytes = layer->data_storage().size()});
    }
    for (const SurveyedLayer& layer : survey_.layers) {
      survey_.placement.host_bytes = std::max(survey_.placement.host_bytes, layer.file_bytes);
    }
    host_ends_.resize(survey_.layers.size(), kNowhere);
  }

  void add(const Extent& extent, Content content) {
    count(extent, content);
    const std::uint32_t depth = belongs_to_layer(content) ? extent.depth : 0;
    const std::uint64_t end = extent.guest_offset + extent.length_bytes;
    for (std::uint64_t at = extent.guest_offset; at < end;) {
      const std::uint64_t cell = at / survey_.cell_bytes;
      const std::uint64_t next = std::min(end, (cell + 1) * survey_.cell_bytes);
      add_share(survey_.cells[cell], {content, depth, next - at});
      at = next;
    }
    if (content == Content::data && extent.host_offset) place(extent);
  }

  DiskSurvey finish() {
    for (std::vector<Share>& cell : survey_.cells) {
      std::stable_sort(cell.begin(), cell.end(),
                       [](const Share& a, const Share& b) { return a.bytes > b.bytes; });
    }
    return std::move(survey_);
  }

 private:
  static constexpr std::uint64_t kNowhere = UINT64_MAX;

  void count(const Extent& extent, Content content) {
    switch (content) {
      case Content::data:
        survey_.layers[extent.depth].data_bytes += extent.length_bytes;
        break;
      case Content::compressed:
        survey_.layers[extent.depth].compressed_bytes += extent.length_bytes;
        break;
      case Content::zero:
        survey_.zero_bytes += extent.length_bytes;
        break;
      case Content::unallocated:
        survey_.unallocated_bytes += extent.length_bytes;
        break;
    }
  }

  static void add_share(std::vector<Share>& cell, const Share& share) {
    const auto same = std::find_if(cell.begin(), cell.end(), [&](const Share& known) {
      return known.content == share.content && known.depth == share.depth;
    });
    if (same == cell.end()) {
      cell.push_back(share);
    } else {
      same->bytes += share.bytes;
    }
  }

  void place(const Extent& extent) {
    SurveyedLayer& layer = survey_.layers[extent.depth];
    if (*extent.host_offset != host_ends_[extent.depth]) ++layer.fragments;
    host_ends_[extent.depth] = *extent.host_offset + extent.length_bytes;

    mark_placement(extent);
  }

  // In each column that the run crosses, the rows from where it enters to where it leaves.
  void mark_placement(const Extent& extent) {
    PlacementGrid& grid = survey_.placement;
    const std::uint64_t last_byte = extent.guest_offset + extent.length_bytes - 1;
    const auto row_at = [&](std::uint64_t guest_offset) {
      const std::uint64_t host_offset = *extent.host_offset + guest_offset - extent.guest_offset;
      return scaled(host_offset, grid.host_bytes, grid.kRows);
    };
    const std::size_t last_column = scaled(last_byte, survey_.disk_bytes, grid.kColumns);
    for (std::size_t column = scaled(extent.guest_offset, survey_.disk_bytes, grid.kColumns);
         column <= last_column; ++column) {
      const std::uint64_t enters = std::clamp(column_begin(column), extent.guest_offset, last_byte);
      const std::uint64_t leaves =
          std::clamp(column_begin(column + 1), extent.guest_offset, last_byte);
      for (std::size_t row = row_at(enters); row <= row_at(leaves); ++row) {
        std::uint32_t& depth = grid.depths[row * grid.kColumns + column];
        depth = std::min(depth, extent.depth);
      }
    }
  }

  // Which of `count` equal parts of `whole` an offset is in.
  static std::size_t scaled(std::uint64_t offset, std::uint64_t whole, std::size_t count) {
    const double place = static_cast<double>(offset) / static_cast<double>(whole);
    return std::min(static_cast<std::size_t>(place * static_cast<double>(count)), count - 1);
  }

  std::uint64_t column_begin(std::size_t column) const {
    return static_cast<std::uint64_t>(static_cast<double>(survey_.disk_bytes) *
                                      static_cast<double>(column) / PlacementGrid::kColumns);
  }

  DiskSurvey survey_;
  std::vector<std::uint64_t> host_ends_;  ///< by depth: where the last run of data ended
};

}  // namespace

DiskSurvey survey_disk(Image& image, std::size_t cells_max, const ProgressSink& progress) {
  Surveyor surveyor(image, cells_max);
  const std::uint64_t size = image.virtual_size();
  visit_extents(image, 0, size, [&](const Extent& extent, bool is_hole) {
    surveyor.add(extent, content_of(extent, is_hole));
    const std::uint64_t done = extent.guest_offset + extent.length_bytes;
    if (progress) progress(static_cast<double>(done) / static_cast<double>(size));
    return true;
  });
  return surveyor.finish();
}

}  // namespace qcowkit::cli
