// What `info` tells of an image, as JSON and as text.
#pragma once

#include <string>

#include "cli/json_text.h"
#include "cli/node_report.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// One image as a JSON object, with the reference's keys in the reference's order.
Json info_json(const ImageInfo& info, const NodeReport& nodes);

/// One image as the lines that people read.
std::string info_text(const ImageInfo& info, const NodeReport& nodes = {});

}  // namespace qcowkit::cli
