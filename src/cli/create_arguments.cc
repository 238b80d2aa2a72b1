// The -o options of a new image: which there are, reading, printing and applying them.
#include "cli/create_arguments.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <limits>
#include <vector>

#include "base/units.h"
#include "cli/failure.h"
#include "cli/file_attributes.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

using Type = FormatOption::Type;

constexpr std::uint64_t kSizeBytesMax = std::numeric_limits<std::int64_t>::max();

constexpr FormatOption kNoCow{"nocow", Type::boolean, "",
                              "Turn off copy-on-write (valid only on btrfs)", true};
constexpr FormatOption kExtentSizeHint{"extent_size_hint", Type::size, "",
                                       "Extent size hint for the image file, 0 to disable", true};

constexpr std::array kQcow2Options = {
    FormatOption{"encryption", Type::boolean, "", "Not supported; only 'off' is accepted"},
    FormatOption{"cluster_size", Type::size, "65536", "qcow2 cluster size"},
    FormatOption{"extended_l2", Type::boolean, "off", "Extended L2 tables"},
    FormatOption{"preallocation", Type::string, "",
                 "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    FormatOption{"compression_type", Type::string, "zlib",
                 "Compression method used for image cluster compression"},
    FormatOption{"compression_level", Type::number, "",
                 "How hard to compress (convert -c only; zlib: 1 to 9, zstd: 1 to 22)"},
    FormatOption{"size", Type::size, "", "Virtual disk size"},
    FormatOption{"compat", Type::string, "", "Compatibility level (v2 [0.10] or v3 [1.1])"},
    FormatOption{"backing_file", Type::string, "", "File name of a base image"},
    FormatOption{"backing_fmt", Type::string, "", "Image format of the base image"},
    FormatOption{"data_file", Type::string, "", "File name of an external data file"},
    FormatOption{"data_file_raw", Type::boolean, "",
                 "The external data file must stay valid as a raw image"},
    FormatOption{"lazy_refcounts", Type::boolean, "off", "Postpone refcount updates"},
    FormatOption{"refcount_bits", Type::number, "16", "Width of a reference count entry in bits"},
    kNoCow,
    kExtentSizeHint,
};

constexpr std::array kRawOptions = {
    FormatOption{"size", Type::size, "", "Virtual disk size"},
    FormatOption{"preallocation", Type::string, "",
                 "Preallocation mode (allowed values: off, falloc, full)", true},
    kNoCow,
    kExtentSizeHint,
};

std::string_view type_text(Type type) {
  switch (type) {
    case Type::size:
      return "size";
    case Type::boolean:
      return "bool (on/off)";
    case Type::number:
      return "num";
    case Type::string:
      break;
  }
  return "str";
}

std::optional<bool> parse_boolean(std::string_view text) {
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return std::nullopt;
}

/// Decimal, hexadecimal behind "0x", octal behind "0".
std::optional<std::uint64_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0') {
    base = 8;
  }
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, number, base);
  if (error != std::errc{} || stopped_at != end) return std::nullopt;
  return number;
}

const FormatOption* find_option(std::string_view format, std::string_view name) {
  for (const FormatOption& option : format_options(format)) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

/// `text` checked, and as it is printed.
std::string canonical_value(const FormatOption& option, const std::string& text) {
  switch (option.type) {
    case Type::boolean:
      if (!parse_boolean(text)) {
        throw Failure(fmt::format("Parameter '{}' expects 'on' or 'off'", option.name));
      }
      return text;
    case Type::number: {
      const std::optional<std::uint64_t> number = parse_number(text);
      if (!number) throw Failure(fmt::format("Parameter '{}' expects a number", option.name));
      return std::to_string(*number);
    }
    case Type::size: {
      SizeProblem problem = SizeProblem::syntax;
      const std::optional<std::uint64_t> size = parse_size(text, &problem);
      if (size) return std::to_string(*size);
      if (problem == SizeProblem::out_of_range) {
        throw Failure(
            fmt::format("Value '{}' is out of range for parameter '{}'", text, option.name));
      }
      throw Failure(
          fmt::format("Parameter '{}' expects a non-negative number below 2^64\n"
                      "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                      "and exabytes, respectively.",
                      option.name));
    }
    case Type::string:
      break;
  }
  return text;
}

Failure not_accepted(std::string_view name, std::string_view value) {
  return Failure(fmt::format("Parameter '{}' does not accept value '{}'", name, value));
}

Preallocation parse_preallocation(std::string_view text) {
  if (text == "off") return Preallocation::off;
  if (text == "metadata") return Preallocation::metadata;
  if (text == "falloc") return Preallocation::falloc;
  if (text == "full") return Preallocation::full;
  throw not_accepted("preallocation", text);
}

std::uint32_t parse_version(std::string_view text) {
  if (text == "v2" || text == "0.10") return 2;
  if (text == "v3" || text == "1.1") return 3;
  throw not_accepted("compat", text);
}

CompressionType parse_compression(std::string_view text) {
  if (text == "zlib") return CompressionType::deflate;
  if (text == "zstd") return CompressionType::zstd;
  throw not_accepted("compression_type", text);
}

/// A number that no option takes stands for all that do not fit: the library refuses it.
std::uint32_t narrow(const std::string& decimal) {
  const std::uint64_t number = parse_number(decimal).value_or(0);
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(number, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

std::span<const FormatOption> format_options(std::string_view format) {
  if (format == "qcow2") return kQcow2Options;
  if (format == "raw") return kRawOptions;
  return {};
}

void print_format_options(Console& console, std::string_view format, bool with_file_options) {
  const std::span<const FormatOption> known = format_options(format);
  if (known.empty()) throw Failure(fmt::format("Unknown file format '{}'", format));
  std::vector<FormatOption> options(known.begin(), known.end());
  std::ranges::sort(options, {}, &FormatOption::name);

  if (with_file_options) {
    console.write("Supported options:\n");
  } else {
    console.print("Supported {} options:\n", format);
  }
  for (const FormatOption& option : options) {
    if (option.belongs_to_file && !with_file_options) continue;
    console.print("  {:<22} - {}\n", fmt::format("{}=<{}>", option.name, type_text(option.type)),
                  option.help);
  }
  if (!with_file_options) {
    console.write(
        "\nThe protocol level may support further options.\n"
        "Specify the target filename to include those options.\n");
  }
}

std::string join_option_lists(std::span<const std::string> lists) {
  std::string joined;
  for (const std::string& list : lists) {
    if (!is_joinable(list)) throw Failure(fmt::format("Invalid option list: {}", list));
    if (!joined.empty()) joined += ',';
    joined += list;
  }
  return joined;
}

CreateArguments::CreateArguments(std::string format, std::string_view list)
    : format_(std::move(format)) {
  if (format_options(format_).empty()) {
    throw Failure(fmt::format("Unknown file format '{}'", format_));
  }
  for (const KeyValue& entry : parse_key_values(list)) {
    if (entry.key.starts_with("encrypt.")) {
      throw Failure(fmt::format("Option '{}': encryption is not supported", entry.key));
    }
    if (!takes(entry.key)) throw Failure(fmt::format("Invalid parameter '{}'", entry.key));
    set(entry.key, entry.value);
  }
  if (is_on("encryption")) throw Failure("Option 'encryption': encryption is not supported");
}

bool CreateArguments::takes(std::string_view name) const {
  return find_option(format_, name) != nullptr;
}

std::optional<std::string> CreateArguments::get(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

void CreateArguments::set(std::string_view name, std::string value) {
  values_.insert_or_assign(std::string(name), canonical_value(*find_option(format_, name), value));
}

std::optional<std::uint64_t> CreateArguments::size_bytes() const {
  const std::optional<std::string> text = get("size");
  return text ? parse_number(*text) : std::nullopt;
}

int CreateArguments::compression_level() const {
  const std::optional<std::string> text = get("compression_level");
  if (!text) return 0;
  const std::uint64_t level = parse_number(*text).value_or(0);
  if (level < 1 || level > 22) throw not_accepted("compression_level", *text);
  return static_cast<int>(level);
}

std::string CreateArguments::summary() const {
  std::string text = fmt::format("fmt={}", format_);
  for (const FormatOption& option : format_options(format_)) {
    const std::string value = get(option.name).value_or(std::string(option.default_text));
    if (value.empty() && !get(option.name)) continue;
    fmt::format_to(std::back_inserter(text), " {}={}", option.name, escape_commas(value));
  }
  return text;
}

CreateOptions CreateArguments::to_create_options() const {
  CreateOptions options;
  options.format = format_;
  options.size_bytes = size_bytes();
  if (const auto mode = get("preallocation")) options.preallocation = parse_preallocation(*mode);
  if (options.size_bytes > kSizeBytesMax) throw Failure("The image size is too large");
  if (format_ == "raw" && options.preallocation == Preallocation::metadata) {
    throw Failure("Unsupported preallocation mode: metadata");
  }
  if (format_ != "qcow2") return options;

  if (const auto level = get("compat")) options.version = parse_version(*level);
  if (const auto size = get("cluster_size")) {
    options.cluster_size_bytes = parse_number(*size).value_or(0);
    // To the library, zero means the default.
    if (options.cluster_size_bytes == 0) throw not_accepted("cluster_size", *size);
  }
  if (const auto bits = get("refcount_bits")) options.refcount_bits = narrow(*bits);
  if (const auto type = get("compression_type")) options.compression = parse_compression(*type);
  options.lazy_refcounts = is_on("lazy_refcounts");
  options.extended_l2 = is_on("extended_l2");
  options.data_file = get("data_file").value_or("");
  if (get("data_file") && options.data_file.empty()) throw not_accepted("data_file", "");
  options.data_file_raw = is_on("data_file_raw");
  set_backing_file(options);
  return options;
}

void CreateArguments::set_backing_file(CreateOptions& options) const {
  const std::optional<std::string> file = get("backing_file");
  const std::optional<std::string> format = get("backing_fmt");
  if (file && file->empty()) throw Failure("Expected backing file name, got empty string");
  if (format && !file) throw Failure("Backing format cannot be used without backing file");
  if (format && format_options(*format).empty()) throw not_accepted("backing_fmt", *format);
  options.backing_file = file.value_or("");
  options.backing_format = format.value_or("");
}

void CreateArguments::create_image(const std::string& path, const CreateOptions& options) const {
  FileAttributes attributes;
  attributes.no_copy_on_write = is_on("nocow");
  if (const auto hint = get("extent_size_hint")) attributes.extent_size_hint_bytes = narrow(*hint);
  apply_file_attributes(path, attributes);
  Image::create(path, options);
}

bool CreateArguments::is_on(std::string_view name) const {
  const std::optional<std::string> text = get(name);
  return text && parse_boolean(*text).value_or(false);
}

}  // namespace qcowkit::cli
