#include "image/node_reader.h"

#include <fmt/core.h>

#include <string_view>

#include "base/option_list.h"
#include "base/units.h"

namespace qcowkit {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

std::string as_text(const NodeOptions::Value& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "on" : "off";
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const double* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return {};
}

}  // namespace

std::optional<NodeOptions::Value> NodeReader::take(std::string_view key) {
  const NodeOptions::Value* const found = left_.find(key);
  if (found == nullptr) return std::nullopt;
  NodeOptions::Value value = *found;
  const NodeOptions child = left_.child(key);
  left_.remove(key);
  if (!child.empty()) left_.set_child(key, child);
  if (std::holds_alternative<std::nullptr_t>(value)) return std::nullopt;
  return value;
}

std::string NodeReader::take_name(std::string_view key) {
  const std::optional<NodeOptions::Value> value = take(key);
  const std::string* const text = value ? std::get_if<std::string>(&*value) : nullptr;
  return text != nullptr ? *text : std::string();
}

std::optional<std::string> NodeReader::take_text(std::string_view key) {
  const std::optional<NodeOptions::Value> value = take(key);
  if (!value) return std::nullopt;
  return as_text(*value);
}

std::optional<bool> NodeReader::take_boolean(std::string_view key) {
  const std::optional<std::string> text = take_text(key);
  if (!text) return std::nullopt;
  const std::optional<bool> flag = parse_boolean(*text);
  if (!flag) throw invalid(fmt::format("Parameter '{}' expects 'on' or 'off'", key));
  return flag;
}

std::optional<std::uint64_t> NodeReader::take_size(std::string_view key) {
  const std::optional<std::string> text = take_text(key);
  if (!text) return std::nullopt;
  SizeProblem problem = SizeProblem::syntax;
  if (const std::optional<std::uint64_t> size = parse_size(*text, &problem)) return size;
  if (problem == SizeProblem::out_of_range) {
    throw invalid(fmt::format("Value '{}' is out of range for parameter '{}'", *text, key));
  }
  throw invalid(
      fmt::format("Parameter '{}' expects a non-negative number below 2^64\n"
                  "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                  "and exabytes, respectively.",
                  key));
}

std::optional<std::uint64_t> NodeReader::take_number(std::string_view key) {
  const std::optional<std::string> text = take_text(key);
  if (!text) return std::nullopt;
  const std::optional<std::uint64_t> number = parse_number(*text);
  if (!number) throw invalid(fmt::format("Parameter '{}' expects a number", key));
  return number;
}

NodeOptions NodeReader::take_child(std::string_view name) {
  NodeOptions child = left_.child(name);
  drop(fmt::format("{}.", name));
  return child;
}

NodeOptions NodeReader::take_child_or_reference(std::string_view name) {
  const std::optional<NodeOptions::Value> reference = take(name);
  NodeOptions child = take_child(name);
  if (!reference) return child;
  if (!child.empty()) {
    throw invalid(
        "Cannot reference an existing block device with additional options or a new filename");
  }
  throw invalid(fmt::format("Cannot find device='{0}' nor node-name='{0}'", as_text(*reference)));
}

NodeOptions NodeReader::take_required_child(std::string_view name) {
  NodeOptions child = take_child_or_reference(name);
  if (child.empty()) {
    throw invalid(fmt::format("A block device must be specified for \"{}\"", name));
  }
  return child;
}

void NodeReader::drop(std::string_view prefix) {
  NodeOptions kept;
  for (const auto& [key, value] : left_.values()) {
    if (!key.starts_with(prefix)) kept.set(key, value);
  }
  left_ = std::move(kept);
}

void NodeReader::require_empty(const Driver& driver) const {
  if (left_.empty()) return;
  const std::string& key = left_.values().begin()->first;
  throw invalid(
      driver.is_protocol
          ? fmt::format("Block protocol '{}' doesn't support the option '{}'", driver.name, key)
          : fmt::format("Block format '{}' does not support the option '{}'", driver.name, key));
}

}  // namespace qcowkit
