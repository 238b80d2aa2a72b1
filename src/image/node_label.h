// How a node is called: a file name if there is one that means the same, else all that it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "image/drivers.h"
#include "qcowkit/node.h"

namespace qcowkit {

struct NodeLabel {
  std::string exact;  ///< a plain name that opens the same; empty: there is none
  std::string json;   ///< all options that matter, as a JSON object on one line
  /// The path from whose folder relative names start; without it they mean nothing.
  std::optional<std::string> location;
  /// The driver of a node without a location.
  std::string driver = {};
  /// How much host space is in use cannot be told: there are several copies, or rules between.
  bool hides_allocation = false;
  /// The unit of allocation of the format below, in bytes; 0: none.
  std::uint64_t cluster_bytes = 0;

  /// What users are shown.
  std::string shown() const { return exact.empty() ? "json:" + json : exact; }
};

/// Puts a JSON object together, its members in the order in which the reference shows them.
class LabelBuilder {
 public:
  explicit LabelBuilder(std::string_view driver);

  void add(std::string_view key, const NodeOptions::Value& value);
  void add_json(std::string_view key, std::string json);
  /// Adds what is set of the driver's strong options; false: nothing is.
  bool add_strong_options(const Driver& driver, const NodeOptions& options);
  std::string json() const;

 private:
  std::vector<std::pair<std::string, std::string>> members_;
};

/// The label of a filter or a format over `child`, which is its child `child_name`.
NodeLabel label_over(const Driver& driver, const NodeOptions& options, std::string_view child_name,
                     const NodeLabel& child);

}  // namespace qcowkit
