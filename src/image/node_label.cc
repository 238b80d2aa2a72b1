#include "image/node_label.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/json_string.h"

namespace qcowkit {

namespace {

/// The reference shows members in an order of its own; these are those that come in front of or
/// behind each other there. Others stand at the end, by their names.
constexpr std::array<std::string_view, 39> kOrder = {
    "encrypt.key-secret",
    "opt-write-zero",
    "max-write-zero",
    "offset",
    "read-zeroes",
    "read-pattern",
    "test",
    "throttle-group",
    "children",
    "set-state.1.event",
    "inject-error.0.state",
    "inject-error.0.immediately",
    "set-state.0.event",
    "inject-error.0.once",
    "image",
    "max-transfer",
    "set-state.1.new_state",
    "driver",
    "blkverify",
    "config",
    "raw",
    "size",
    "filename",
    "file",
    "key-secret",
    "rewrite-corrupted",
    "vote-threshold",
    "inject-error.0.iotype",
    "set-state.0.new_state",
    "inject-error.0.errno",
    "inject-error.1.errno",
    "inject-error.0.event",
    "inject-error.1.event",
    "set-state.0.state",
    "inject-error.0.sector",
    "inject-error.",
    "set-state.",
    "opt-discard",
    "max-discard",
};  // then "align", "backing", "bottom", "data-file"

std::size_t rank(std::string_view key) {
  const auto found = std::ranges::find_if(kOrder, [&](std::string_view known) {
    return known.ends_with('.') ? key.starts_with(known) : key == known;
  });
  return static_cast<std::size_t>(found - kOrder.begin());
}

std::string json_value(const NodeOptions::Value& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const double* number = std::get_if<double>(&value)) return fmt::format("{:.17g}", *number);
  if (std::holds_alternative<std::nullptr_t>(value)) return "null";
  std::string out;
  append_json_string(out, std::get<std::string>(value));
  return out;
}

bool is_strong(const Driver& driver, std::string_view key) {
  return std::ranges::any_of(driver.strong_options, [&](std::string_view strong) {
    return strong.ends_with('.') ? key.starts_with(strong) : key == strong;
  });
}

}  // namespace

LabelBuilder::LabelBuilder(std::string_view driver) { add("driver", std::string(driver)); }

void LabelBuilder::add(std::string_view key, const NodeOptions::Value& value) {
  add_json(key, json_value(value));
}

void LabelBuilder::add_json(std::string_view key, std::string json) {
  members_.emplace_back(key, std::move(json));
}

bool LabelBuilder::add_strong_options(const Driver& driver, const NodeOptions& options) {
  const std::size_t before = members_.size();
  for (const auto& [key, value] : options.values()) {
    if (is_strong(driver, key)) add(key, value);
  }
  return members_.size() > before;
}

std::string LabelBuilder::json() const {
  std::vector<std::pair<std::string, std::string>> sorted = members_;
  std::ranges::stable_sort(sorted, {}, [](const auto& member) { return rank(member.first); });
  std::string out = "{";
  for (const auto& [key, json] : sorted) {
    if (out.size() > 1) out += ", ";
    append_json_string(out, key);
    out += ": " + json;
  }
  return out + "}";
}

NodeLabel label_over(const Driver& driver, const NodeOptions& options, std::string_view child_name,
                     const NodeLabel& child) {
  LabelBuilder builder(driver.name);
  builder.add_strong_options(driver, options);
  builder.add_json(child_name, child.json);
  NodeLabel label = child;
  label.exact.clear();
  label.json = builder.json();
  return label;
}

}  // namespace qcowkit
