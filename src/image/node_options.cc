// The tree of options: a flat map whose names have dots.
#include <fmt/core.h>

#include "base/option_list.h"
#include "image/json_options.h"
#include "qcowkit/node.h"

namespace qcowkit {

NodeOptions NodeOptions::from_list(std::string_view list, std::vector<std::string>* short_forms) {
  NodeOptions options;
  for (KeyValue& entry : parse_key_values(list, "file")) {
    const bool is_help = entry.is_short && (entry.key == "help" || entry.key == "?");
    if (is_help) continue;
    if (entry.is_short && short_forms != nullptr) {
      short_forms->push_back(entry.value == "off" ? "no" + entry.key : entry.key);
    }
    options.set(entry.key, std::move(entry.value));
  }
  return options;
}

NodeOptions NodeOptions::from_json(std::string_view text) { return parse_json_options(text); }

const NodeOptions::Value* NodeOptions::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

std::string NodeOptions::text(std::string_view key) const {
  const Value* const value = find(key);
  const std::string* const text = value != nullptr ? std::get_if<std::string>(value) : nullptr;
  return text != nullptr ? *text : std::string();
}

void NodeOptions::set(std::string_view key, Value value) {
  values_.insert_or_assign(std::string(key), std::move(value));
}

void NodeOptions::remove(std::string_view key) {
  const std::string prefix = fmt::format("{}.", key);
  values_.erase(std::string(key));
  auto it = values_.lower_bound(prefix);
  while (it != values_.end() && it->first.starts_with(prefix)) it = values_.erase(it);
}

NodeOptions NodeOptions::child(std::string_view name) const {
  NodeOptions child;
  const std::string prefix = fmt::format("{}.", name);
  for (auto it = values_.lower_bound(prefix); it != values_.end() && it->first.starts_with(prefix);
       ++it) {
    child.values_.emplace_hint(child.values_.end(), it->first.substr(prefix.size()), it->second);
  }
  return child;
}

void NodeOptions::set_child(std::string_view name, const NodeOptions& child) {
  remove(name);
  for (const auto& [key, value] : child.values_) values_[fmt::format("{}.{}", name, key)] = value;
}

void NodeOptions::add_defaults(const NodeOptions& other) {
  values_.insert(other.values_.begin(), other.values_.end());
}

}  // namespace qcowkit
