// A disk drawn as text, and its numbers as JSON.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "base/units.h"
#include "base/utf8.h"
#include "cli/picture.h"

namespace qcowkit::cli {

namespace {

constexpr std::size_t kColumns = 64;
constexpr char kZero = '0';
constexpr char kUnallocated = '.';

/// Colours of a terminal that differ well, one after the other for the images of a chain.
constexpr std::array kLayerColours = {"32", "34", "33", "35", "36", "31"};
constexpr const char* kFaint = "90";
constexpr const char* kPlain = "0";

/// Switches colours on a line, and only where they change.
class Painter {
 public:
  Painter(std::string& out, bool colours) : out_(out), colours_(colours) {}

  void put(char c, const char* colour) {
    if (colours_ && colour != colour_) out_ += fmt::format("\033[0;{}m", colour);
    colour_ = colour;
    out_ += c;
  }
  void end_line() {
    if (colours_ && colour_ != kPlain) out_ += "\033[0m";
    colour_ = kPlain;
    out_ += '\n';
  }

 private:
  std::string& out_;
  bool colours_;
  const char* colour_ = kPlain;
};

bool has_data(const Share& share) {
  return share.content == Content::data || share.content == Content::compressed;
}

/// What a cell shows: the image that has most of its data, be that a little; else what there is
/// more of.
const Share& shown_share(const std::vector<Share>& cell) {
  const auto data = std::find_if(cell.begin(), cell.end(), has_data);
  return data == cell.end() ? cell.front() : *data;
}

void put_cell(Painter& painter, const std::vector<Share>& cell) {
  const Share& shown = shown_share(cell);
  if (!has_data(shown)) {
    painter.put(shown.content == Content::zero ? kZero : kUnallocated, kFaint);
    return;
  }
  std::uint64_t cell_bytes = 0;
  std::uint64_t data_bytes = 0;
  for (const Share& share : cell) {
    cell_bytes += share.bytes;
    if (has_data(share)) data_bytes += share.bytes;
  }
  const char letter = layer_letter(shown.depth);
  const bool is_mostly_data = data_bytes >= cell_bytes - data_bytes;
  painter.put(is_mostly_data ? letter : static_cast<char>(letter - 'A' + 'a'),
              kLayerColours[shown.depth % kLayerColours.size()]);
}

void append_legend(std::string& out, const DiskSurvey& survey, bool colours) {
  const auto append_line = [&](char mark, const char* colour, std::string_view text) {
    Painter painter(out, colours);
    painter.put(mark, colour);
    painter.put(' ', kPlain);
    out += text;
    out += '\n';
  };
  for (std::size_t depth = 0; depth < survey.layers.size(); ++depth) {
    const SurveyedLayer& layer = survey.layers[depth];
    std::string text = fmt::format("{} in {} ({})", human_size(layer.data_bytes),
                                   printable(layer.filename), layer.format);
    if (layer.compressed_bytes != 0) {
      text += fmt::format(", and {} compressed", human_size(layer.compressed_bytes));
    }
    if (layer.fragments != 0) {
      text += fmt::format(", {} fragment{}", layer.fragments, layer.fragments == 1 ? "" : "s");
    }
    append_line(layer_letter(depth), kLayerColours[depth % kLayerColours.size()], text);
  }
  append_line(kZero, kFaint, human_size(survey.zero_bytes) + " known to be zeroes");
  append_line(kUnallocated, kFaint, human_size(survey.unallocated_bytes) + " never written");
}

std::string_view content_name(Content content) {
  switch (content) {
    case Content::data:
      return "data";
    case Content::compressed:
      return "compressed";
    case Content::zero:
      return "zero";
    case Content::unallocated:
      break;
  }
  return "unallocated";
}

}  // namespace

char layer_letter(std::size_t depth) noexcept {
  return static_cast<char>('A' + std::min<std::size_t>(depth, 25));
}

std::string text_picture(const DiskSurvey& survey, bool colours) {
  std::string out =
      fmt::format("{}, one character is {}; lower case: data in less than half of it\n\n",
                  human_size(survey.disk_bytes), human_size(survey.cell_bytes));
  for (std::size_t begin = 0; begin < survey.cells.size(); begin += kColumns) {
    out += fmt::format("{:>10}  ", human_size(begin * survey.cell_bytes));
    Painter painter(out, colours);
    const std::size_t end = std::min(begin + kColumns, survey.cells.size());
    for (std::size_t i = begin; i < end; ++i) put_cell(painter, survey.cells[i]);
    painter.end_line();
  }
  out += '\n';
  append_legend(out, survey, colours);
  return out;
}

Json json_picture(const DiskSurvey& survey) {
  Json layers = Json::array();
  for (const SurveyedLayer& layer : survey.layers) {
    layers.push_back({{"filename", layer.filename},
                      {"format", layer.format},
                      {"virtual-size", layer.virtual_size_bytes},
                      {"file-size", layer.file_bytes},
                      {"data", layer.data_bytes},
                      {"compressed", layer.compressed_bytes},
                      {"fragments", layer.fragments}});
  }
  Json cells = Json::array();
  for (const std::vector<Share>& cell : survey.cells) {
    Json shares = Json::array();
    for (const Share& share : cell) {
      Json entry = {{"content", content_name(share.content)}, {"bytes", share.bytes}};
      if (has_data(share)) entry["depth"] = share.depth;
      shares.push_back(std::move(entry));
    }
    cells.push_back(std::move(shares));
  }
  return {{"virtual-size", survey.disk_bytes}, {"cell-size", survey.cell_bytes},
          {"zero", survey.zero_bytes},         {"unallocated", survey.unallocated_bytes},
          {"layers", std::move(layers)},       {"cells", std::move(cells)}};
}

}  // namespace qcowkit::cli
