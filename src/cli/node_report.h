// What newer releases of the reference tell of an image, in JSON: the file that it lies in, and how
// requests to both are best cut.
#pragma once

#include <optional>
#include <string_view>

#include "cli/json_text.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

struct NodeReport {
  Json children = Json::array();
  /// What the file has to say beyond its name and size; null where there is no file.
  Json file_specific;
  /// Only where it is asked for.
  std::optional<Json> limits;
};

/// Looks at the open image. `driver` is that of its topmost node: where it is that of a file, there
/// is no other below.
NodeReport report_nodes(const Image& image, std::string_view driver, bool with_limits);

}  // namespace qcowkit::cli
