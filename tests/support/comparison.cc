// Whether two outputs are the same, but for what cannot be.
#include "tests/support/comparison.h"

#include <array>
#include <nlohmann/json.hpp>
#include <regex>

namespace qcowkit::test {

namespace {

using Json = nlohmann::ordered_json;

struct Mask {
  std::regex pattern;
  const char* replacement;
};

std::string replace_all(std::string text, const auto& masks) {
  for (const Mask& mask : masks) text = std::regex_replace(text, mask.pattern, mask.replacement);
  return text;
}

/// Removes what only `ours` has and may have.
void prune(Json& ours, const Json& reference, const std::set<std::string>& additional_keys) {
  if (ours.is_array() && reference.is_array()) {
    for (std::size_t i = 0; i < ours.size() && i < reference.size(); ++i) {
      prune(ours[i], reference[i], additional_keys);
    }
  }
  if (!ours.is_object() || !reference.is_object()) return;
  for (const std::string& key : additional_keys) {
    if (!reference.contains(key)) ours.erase(key);
  }
  for (auto& [key, value] : ours.items()) {
    if (reference.contains(key)) prune(value, reference[key], additional_keys);
  }
}

}  // namespace

// What stands in their place is a text in JSON, too.
std::string masked(const std::string& text) {
  static const std::array kMasks = {
      Mask{std::regex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"), "DATE"},
      Mask{std::regex("\"(date-n?sec|[a-z-]*iters)\": [0-9]+"), "\"$1\": \"NUMBER\""},
      Mask{std::regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"},
      Mask{std::regex("(iters): [0-9]+"), "$1: NUMBER"},
      // The line that -p rewrites: where it ends is the same, the steps on the way are not.
      Mask{std::regex(R"((    \([0-9.]+/100%\)\r)*    \(([0-9.]+)/100%\)\r)"), "    ($2/100%)\r"},
      Mask{std::regex(R"([0-9.]+ seconds)"), "SECONDS"},
      Mask{std::regex(R"([0-9.]+ ops/sec)"), "RATE"},
      Mask{std::regex(R"([0-9.]+ ?([KMGTPE]i?B|bytes)/sec)"), "RATE"},
      Mask{std::regex(R"([0-9:.]+ sec\b)"), "TIME"},
  };
  return replace_all(text, kMasks);
}

std::string masked_with_sizes(const std::string& text) {
  static const std::array kMasks = {
      Mask{std::regex("disk size: [^\n]*"), "disk size: SIZE"},
      Mask{std::regex(R"("actual-size": [0-9]+)"), R"("actual-size": "SIZE")"},
  };
  return replace_all(masked(text), kMasks);
}

std::string comparable(const std::string& ours, const std::string& reference,
                       const std::set<std::string>& additional_keys) {
  const Json reference_json = Json::parse(reference, nullptr, /*allow_exceptions=*/false);
  Json our_json = Json::parse(ours, nullptr, /*allow_exceptions=*/false);
  if (!reference_json.is_structured() || !our_json.is_structured()) return ours;
  prune(our_json, reference_json, additional_keys);
  // Word for word where they are the same: layout counts as well where nothing is left out.
  return our_json == reference_json ? reference : our_json.dump(4);
}

}  // namespace qcowkit::test
