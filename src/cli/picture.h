// A disk drawn: as text, as SVG, and as the numbers of both.
#pragma once

#include <string>

#include "cli/disk_survey.h"
#include "cli/json_text.h"

namespace qcowkit::cli {

/// How many cells the pictures have room for.
inline constexpr std::size_t kTextCellsMax = 64 * 32;
inline constexpr std::size_t kSvgCellsMax = 128 * 64;

/// A character for each cell, and below what they stand for. With `colours`, every image of the
/// chain has one of its own (for a terminal).
std::string text_picture(const DiskSurvey& survey, bool colours);

/// A document of its own: the disk cell by cell, where the data lies in the files, and a legend.
std::string svg_picture(const DiskSurvey& survey);

Json json_picture(const DiskSurvey& survey);

/// What stands for the image at `depth`: 'A' for the image itself and so on; 'Z' for all from
/// there.
char layer_letter(std::size_t depth) noexcept;

}  // namespace qcowkit::cli
