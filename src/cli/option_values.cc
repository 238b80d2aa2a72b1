// The values of -o options, checked against those that a format has.
#include "cli/option_values.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/units.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

using Type = FormatOption::Type;

/// `text` checked, and as it is printed.
std::string canonical_value(const FormatOption& option, const std::string& text) {
  switch (option.type) {
    case Type::boolean:
      if (!parse_boolean(text)) {
        throw Failure(fmt::format("Parameter '{}' expects 'on' or 'off'", option.name));
      }
      return text;
    case Type::number: {
      bool is_too_large = false;
      const std::optional<std::uint64_t> number = parse_number(text, &is_too_large);
      if (is_too_large) {
        throw Failure(fmt::format("Value '{}' is too large for parameter '{}'", text, option.name));
      }
      if (!number) throw Failure(fmt::format("Parameter '{}' expects a number", option.name));
      return std::to_string(static_cast<std::int64_t>(*number));  // what wrapped is shown as given
    }
    case Type::size:
      return std::to_string(parse_size_parameter(option.name, text));
    case Type::string:
      break;
  }
  return text;
}

}  // namespace

std::string join_option_lists(std::span<const std::string> lists) {
  std::string joined;
  for (const std::string& list : lists) {
    if (!is_joinable(list)) throw Failure(fmt::format("Invalid option list: {}", list));
    if (!joined.empty()) joined += ',';
    joined += list;
  }
  return joined;
}

std::uint64_t parse_size_parameter(std::string_view name, const std::string& text) {
  SizeProblem problem = SizeProblem::syntax;
  if (const std::optional<std::uint64_t> size = parse_size(text, &problem)) return *size;
  if (problem == SizeProblem::out_of_range) {
    throw Failure(fmt::format("Value '{}' is out of range for parameter '{}'", text, name));
  }
  throw Failure(
      fmt::format("Parameter '{}' expects a non-negative number below 2^64\n"
                  "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                  "and exabytes, respectively.",
                  name));
}

Failure not_accepted(std::string_view name, std::string_view value) {
  return Failure(fmt::format("Parameter '{}' does not accept value '{}'", name, value));
}

OptionValues::OptionValues(std::span<const FormatOption> known, std::string_view list)
    : known_(known) {
  for (const KeyValue& entry : parse_key_values(list)) {
    if (!takes(entry.key)) throw Failure(fmt::format("Invalid parameter '{}'", entry.key));
    set(entry.key, entry.value);
  }
}

std::optional<std::string> OptionValues::get(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint64_t> OptionValues::number(std::string_view name) const {
  const std::optional<std::string> text = get(name);
  return text ? std::optional(parse_number(*text).value_or(0)) : std::nullopt;
}

std::optional<std::uint32_t> OptionValues::small_number(std::string_view name) const {
  const std::optional<std::uint64_t> value = number(name);
  if (!value) return std::nullopt;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(*value, std::numeric_limits<std::uint32_t>::max()));
}

std::optional<bool> OptionValues::boolean(std::string_view name) const {
  const std::optional<std::string> text = get(name);
  return text ? parse_boolean(*text) : std::nullopt;
}

void OptionValues::set(std::string_view name, const std::string& value) {
  values_.insert_or_assign(std::string(name), canonical_value(*find_option(known_, name), value));
}

}  // namespace qcowkit::cli
