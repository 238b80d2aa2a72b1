// The -o options of a new image: which there are, reading, printing and applying them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/console.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// One option of a format.
struct FormatOption {
  enum class Type { size, boolean, number, string };

  std::string_view name;
  Type type;
  std::string_view default_text;  ///< what `create` shows where it is not given; empty: nothing
  std::string_view help;
  bool belongs_to_file = false;  ///< of the file that the image lies in, not of the format
};

/// The options of `format` in the order in which `create` shows them. Empty: no such format.
std::span<const FormatOption> format_options(std::string_view format);

/// Prints the list that `-o help` asks for. Without a target's name, the options of the file are
/// left out. Throws `Failure` for an unknown format.
void print_format_options(Console& console, std::string_view format, bool with_file_options);

/// Joins the values of several -o options. Throws `Failure` for a list that cannot be joined.
std::string join_option_lists(std::span<const std::string> lists);

/// The -o options of one command, checked against the format.
class CreateArguments {
 public:
  /// Reads `list`. Throws `Failure` for an unknown format or option and for a malformed value.
  CreateArguments(std::string format, std::string_view list);

  const std::string& format() const noexcept { return format_; }
  bool takes(std::string_view name) const;
  std::optional<std::string> get(std::string_view name) const;
  void set(std::string_view name, std::string value);
  /// The value of -o size.
  std::optional<std::uint64_t> size_bytes() const;
  /// The value of -o compression_level, which no image stores: it is for commands that compress.
  int compression_level() const;

  /// "fmt=qcow2 cluster_size=65536 ...": every option that is given or has a default.
  std::string summary() const;

  /// What `Image::create` is told. Throws `Failure` for a value that it knows no meaning of.
  CreateOptions to_create_options() const;

  /// Creates the image in `path`, with the options of the file applied to the empty file first.
  void create_image(const std::string& path, const CreateOptions& options) const;

 private:
  bool is_on(std::string_view name) const;
  void set_backing_file(CreateOptions& options) const;

  std::string format_;
  std::map<std::string, std::string, std::less<>> values_;  ///< sizes and numbers in decimal
};

}  // namespace qcowkit::cli
