// The -o options of a new image: printing and applying them.
#include "cli/create_arguments.h"

#include <fmt/core.h>

#include <iterator>
#include <limits>

#include "cli/failure.h"
#include "cli/file_attributes.h"
#include "cli/key_values.h"
#include "cli/open_arguments.h"
#include "cli/qcow2_arguments.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kSizeBytesMax = std::numeric_limits<std::int64_t>::max();

std::span<const FormatOption> options_of(std::string_view format) {
  const std::span<const FormatOption> options = create_options(format);
  if (options.empty()) throw Failure(fmt::format("Unknown file format '{}'", format));
  return options;
}

/// The bytes that the image is to be written to.
std::unique_ptr<Image> open_on_server(const std::string& name, const OpenOptions& options) {
  try {
    return Image::open(NodeOptions::from_name(name, "raw"), options);
  } catch (const Error& e) {
    throw Failure(fmt::format(
        "Protocol driver 'nbd' does not support image creation, and opening the image failed: {}",
        without_name(e.what(), name)));
  }
}

}  // namespace

std::optional<Preallocation> parse_preallocation(std::string_view text) {
  if (text == "off") return Preallocation::off;
  if (text == "metadata") return Preallocation::metadata;
  if (text == "falloc") return Preallocation::falloc;
  if (text == "full") return Preallocation::full;
  return std::nullopt;
}

CreateArguments::CreateArguments(std::string format, std::string_view list)
    : OptionValues(options_of(format), list), format_(std::move(format)) {}

int CreateArguments::compression_level() const {
  const std::optional<std::uint64_t> level = number("compression_level");
  if (!level) return 0;
  if (*level < 1 || *level > 22) {
    throw not_accepted("compression_level", std::to_string(*level));
  }
  return static_cast<int>(*level);
}

std::string CreateArguments::summary() const {
  std::string text = fmt::format("fmt={}", format_);
  for (const FormatOption& option : create_options(format_)) {
    const std::string value = get(option.name).value_or(std::string(option.default_text));
    if (value.empty() && !has(option.name)) continue;
    fmt::format_to(std::back_inserter(text), " {}={}", option.name, escape_commas(value));
  }
  return text;
}

CreateOptions CreateArguments::to_create_options(const Secrets& secrets, NewImage purpose) const {
  CreateOptions options;
  options.format = format_;
  options.size_bytes = size_bytes();
  if (format_ == "qcow2") set_qcow2_version(*this, options);
  if (takes("backing_file")) set_backing_file(options);
  set_preallocation(options);
  if (options.size_bytes > kSizeBytesMax) throw Failure("The image size is too large");
  if (format_ == "qcow2") set_qcow2_options(*this, purpose, options);
  apply_encryption(format_, *this, secrets, purpose, options);
  return options;
}

void CreateArguments::set_preallocation(CreateOptions& options) const {
  const std::optional<std::string> text = get("preallocation");
  if (!text) return;
  const std::optional<Preallocation> mode = parse_preallocation(*text);
  if (!mode && find_option(create_options(format_), "preallocation")->belongs_to_file) {
    throw Failure(fmt::format("invalid parameter value: {}", *text));
  }
  if (!mode) throw not_accepted("preallocation", *text);
  const bool has_metadata_mode = format_ == "qcow2" || format_ == "luks";
  if (!has_metadata_mode && mode == Preallocation::metadata) {
    throw Failure("Unsupported preallocation mode: metadata");
  }
  options.preallocation = *mode;
}

void CreateArguments::set_backing_file(CreateOptions& options) const {
  const std::optional<std::string> file = get("backing_file");
  const std::optional<std::string> format = get("backing_fmt");
  if (file && file->empty()) throw Failure("Expected backing file name, got empty string");
  if (format && !is_known_format(*format)) throw not_accepted("backing-fmt", *format);
  if (format && !file) throw Failure("Backing format cannot be used without backing file");
  options.backing_file = file.value_or("");
  options.backing_format = format.value_or("");
}

void CreateArguments::create_image(const std::string& filename,
                                   const CreateOptions& options) const {
  if (lies_on_server(filename)) {
    OpenOptions open;
    open.read_only = false;
    open.cache = options.cache;
    const std::unique_ptr<Image> bytes = open_on_server(filename, open);
    Image::create(bytes->storage(), options);
    bytes->close();
    return;
  }
  const std::string path = local_path(filename);
  FileAttributes attributes;
  attributes.no_copy_on_write = is_on("nocow");
  attributes.extent_size_hint_bytes = small_number("extent_size_hint");
  apply_file_attributes(path, attributes);
  Image::create(path, options);
}

}  // namespace qcowkit::cli
