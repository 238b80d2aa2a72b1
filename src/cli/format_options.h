// The -o options that each format has.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/console.h"

namespace qcowkit::cli {

/// One option of a format.
struct FormatOption {
  enum class Type { size, boolean, number, string };

  std::string_view name;
  Type type;
  std::string_view default_text;  ///< what `create` shows where it is not given; empty: nothing
  std::string_view help;
  bool belongs_to_file = false;  ///< of the file that the image lies in, not of the format
  bool is_addition = false;      ///< the reference has no such option
};

/// True for the name of a format that images can have.
bool is_known_format(std::string_view format);

/// The options of a new image of `format` in the order in which `create` shows them. Empty: no such
/// format.
std::span<const FormatOption> create_options(std::string_view format);
/// Those that can be changed afterwards. Empty: none.
std::span<const FormatOption> amend_options(std::string_view format);

/// Null if `options` has none of this name.
const FormatOption* find_option(std::span<const FormatOption> options, std::string_view name);

/// What stands before the names of `format`'s options on encryption: "encrypt." or nothing.
std::string_view encryption_prefix(std::string_view format);

/// Prints the list that `-o help` of a new image asks for. Without a target's name, the options of
/// the file are left out. Throws `Failure` for an unknown format.
void print_create_options(Console& console, std::string_view format, bool with_file_options);
/// The same for `amend`. Throws `Failure` for a format that cannot be amended.
void print_amend_options(Console& console, std::string_view format);

}  // namespace qcowkit::cli
