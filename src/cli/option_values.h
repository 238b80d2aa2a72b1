// The values of -o options, checked against those that a format has.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/option_list.h"
#include "cli/failure.h"
#include "cli/format_options.h"

namespace qcowkit::cli {

/// Joins the values of several -o options. Throws `Failure` for a list that cannot be joined.
std::string join_option_lists(std::span<const std::string> lists);

/// `text` as a size in bytes. Throws `Failure` that calls it parameter `name`.
std::uint64_t parse_size_parameter(std::string_view name, const std::string& text);

/// The failure of a value that an option does not know.
Failure not_accepted(std::string_view name, std::string_view value);

class OptionValues {
 public:
  /// Reads `list`, which may hold what is `known`, an array that lives on. Throws `Failure` for
  /// other options and for malformed values.
  OptionValues(std::span<const FormatOption> known, std::string_view list);

  bool takes(std::string_view name) const { return find_option(known_, name) != nullptr; }
  bool has(std::string_view name) const { return values_.contains(name); }
  /// The value; sizes and numbers are in decimal.
  std::optional<std::string> get(std::string_view name) const;
  /// The value of a size or a number.
  std::optional<std::uint64_t> number(std::string_view name) const;
  /// The same; what does not fit becomes the largest, which no option takes: the library refuses
  /// it.
  std::optional<std::uint32_t> small_number(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;
  bool is_on(std::string_view name) const { return boolean(name).value_or(false); }
  void set(std::string_view name, const std::string& value);

 private:
  std::span<const FormatOption> known_;
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace qcowkit::cli
