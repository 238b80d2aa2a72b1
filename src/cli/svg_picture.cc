// A disk drawn as SVG.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <string_view>

#include "base/units.h"
#include "base/utf8.h"
#include "cli/picture.h"

namespace qcowkit::cli {

namespace {

// Lengths are in the document's units, which viewers show as pixels.
constexpr std::size_t kColumns = 128;
constexpr int kCell = 8;
constexpr int kMargin = 24;
constexpr int kLine = 20;
constexpr int kWidth = static_cast<int>(kColumns) * kCell + 2 * kMargin;
constexpr int kPlacementCell =
    kCell * static_cast<int>(kColumns) / static_cast<int>(PlacementGrid::kColumns);

/// Told apart also by those who see few colours; from Okabe and Ito's palette.
constexpr std::array kLayerColours = {"#0072b2", "#e69f00", "#009e73",
                                      "#cc79a7", "#56b4e9", "#d55e00"};
constexpr std::string_view kZeroColour = "#d0d0d0";
constexpr std::string_view kUnallocatedColour = "#f4f4f4";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string_view layer_colour(std::uint32_t depth) {
  return kLayerColours[depth % kLayerColours.size()];
}

std::string_view colour_of(const Share& share) {
  switch (share.content) {
    case Content::data:
    case Content::compressed:
      return layer_colour(share.depth);
    case Content::zero:
      return kZeroColour;
    case Content::unallocated:
      break;
  }
  return kUnallocatedColour;
}

bool look_alike(const std::vector<Share>& a, const std::vector<Share>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Share& x, const Share& y) {
    return x.content == y.content && x.depth == y.depth && x.bytes == y.bytes;
  });
}

class Drawing {
 public:
  explicit Drawing(const DiskSurvey& survey) : survey_(survey) {}

  std::string finish() {
    heading(fmt::format("{}: {}, one cell is {}", escaped(survey_.layers[0].filename),
                        human_size(survey_.disk_bytes), human_size(survey_.cell_bytes)));
    draw_cells();
    heading(
        fmt::format("Where the data lies: the disk from left to right, the files from top to "
                    "bottom ({})",
                    human_size(survey_.placement.host_bytes)));
    draw_placement();
    heading("Legend");
    draw_legend();
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"13\">\n"
        "<defs><pattern id=\"compressed\" width=\"4\" height=\"4\" "
        "patternUnits=\"userSpaceOnUse\"><path d=\"M0 4L4 0\" stroke=\"#fff\" "
        "stroke-width=\"1.2\"/></pattern></defs>\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n{2}</svg>\n",
        kWidth, y_ + kMargin, body_);
  }

 private:
  template <typename... Args>
  void append(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(body_), format, std::forward<Args>(args)...);
  }

  void heading(std::string_view text) {
    y_ += kMargin + kLine;
    append("<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>\n", kMargin, y_ - 6, text);
  }

  void rectangle(double x, double y, double width, double height, const Share& share) {
    append("<rect x=\"{:.6g}\" y=\"{:.6g}\" width=\"{:.6g}\" height=\"{:.6g}\" fill=\"{}\"/>\n", x,
           y, width, height, colour_of(share));
    if (share.content == Content::compressed) {
      append(
          "<rect x=\"{:.6g}\" y=\"{:.6g}\" width=\"{:.6g}\" height=\"{:.6g}\" "
          "fill=\"url(#compressed)\"/>\n",
          x, y, width, height);
    }
  }

  // Neighbours that look alike are one shape: a disk is mostly made of such.
  void draw_cells() {
    const std::size_t count = survey_.cells.size();
    for (std::size_t row = 0; row * kColumns < count; ++row) {
      const std::size_t row_end = std::min(count, (row + 1) * kColumns);
      for (std::size_t begin = row * kColumns; begin < row_end;) {
        std::size_t end = begin + 1;
        while (end < row_end && look_alike(survey_.cells[begin], survey_.cells[end])) ++end;
        draw_run(row, begin, end);
        begin = end;
      }
    }
    y_ += static_cast<int>((count + kColumns - 1) / kColumns) * kCell;
  }

  // Cells that look alike: their shares stand on each other.
  void draw_run(std::size_t row, std::size_t begin, std::size_t end) {
    const std::vector<Share>& shares = survey_.cells[begin];
    append("<g><title>{}</title>\n", run_title(begin, end));
    std::uint64_t cell_bytes = 0;
    for (const Share& share : shares) cell_bytes += share.bytes;
    const double x = kMargin + static_cast<double>(begin % kColumns) * kCell;
    double y = y_ + static_cast<double>(row) * kCell;
    for (const Share& share : shares) {
      const double height =
          kCell * static_cast<double>(share.bytes) / static_cast<double>(cell_bytes);
      rectangle(x, y, static_cast<double>(end - begin) * kCell, height, share);
      y += height;
    }
    body_ += "</g>\n";
  }

  std::string run_title(std::size_t begin, std::size_t end) const {
    const std::uint64_t end_offset = std::min(end * survey_.cell_bytes, survey_.disk_bytes);
    std::string title =
        fmt::format("{} to {}:", human_size(begin * survey_.cell_bytes), human_size(end_offset));
    for (const Share& share : survey_.cells[begin]) {
      title += fmt::format("\n{} {}", human_size(share.bytes * (end - begin)), share_name(share));
    }
    return title;
  }

  std::string share_name(const Share& share) const {
    switch (share.content) {
      case Content::data:
        return "in " + escaped(survey_.layers[share.depth].filename);
      case Content::compressed:
        return "compressed in " + escaped(survey_.layers[share.depth].filename);
      case Content::zero:
        return "known to be zeroes";
      case Content::unallocated:
        break;
    }
    return "never written";
  }

  void draw_placement() {
    const PlacementGrid& grid = survey_.placement;
    const int height = static_cast<int>(grid.kRows) * kPlacementCell;
    append("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n", kMargin, y_,
           kWidth - 2 * kMargin, height, kUnallocatedColour);
    for (std::size_t row = 0; row < grid.kRows; ++row) {
      const auto* const depths = &grid.depths[row * grid.kColumns];
      for (std::size_t begin = 0; begin < grid.kColumns;) {
        std::size_t end = begin + 1;
        while (end < grid.kColumns && depths[end] == depths[begin]) ++end;
        if (depths[begin] != grid.kNobody) {
          append("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n",
                 kMargin + begin * kPlacementCell, y_ + static_cast<int>(row) * kPlacementCell,
                 (end - begin) * kPlacementCell, kPlacementCell, layer_colour(depths[begin]));
        }
        begin = end;
      }
    }
    y_ += height;
  }

  void draw_legend() {
    for (std::uint32_t depth = 0; depth < survey_.layers.size(); ++depth) {
      const SurveyedLayer& layer = survey_.layers[depth];
      std::string text =
          fmt::format("{} in {} ({}, {}), {} fragment{}", human_size(layer.data_bytes),
                      escaped(layer.filename), layer.format, human_size(layer.virtual_size_bytes),
                      layer.fragments, layer.fragments == 1 ? "" : "s");
      legend_line({Content::data, depth, 0}, text);
      if (layer.compressed_bytes == 0) continue;
      legend_line({Content::compressed, depth, 0},
                  fmt::format("{} compressed in {}", human_size(layer.compressed_bytes),
                              escaped(layer.filename)));
    }
    legend_line({Content::zero, 0, 0}, human_size(survey_.zero_bytes) + " known to be zeroes");
    legend_line({Content::unallocated, 0, 0},
                human_size(survey_.unallocated_bytes) + " never written");
  }

  void legend_line(const Share& share, std::string_view text) {
    rectangle(kMargin, y_, kLine - 6, kLine - 6, share);
    append("<text x=\"{}\" y=\"{}\">{}</text>\n", kMargin + kLine, y_ + kLine - 9, text);
    y_ += kLine;
  }

  const DiskSurvey& survey_;
  std::string body_;
  int y_ = 0;  ///< where the next part begins
};

}  // namespace

std::string svg_picture(const DiskSurvey& survey) { return Drawing(survey).finish(); }

}  // namespace qcowkit::cli
