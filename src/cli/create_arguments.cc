// The -o options of a new image: printing and applying them.
#include "cli/create_arguments.h"

#include <fmt/core.h>

#include <iterator>
#include <limits>

#include "cli/failure.h"
#include "cli/file_attributes.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kSizeBytesMax = std::numeric_limits<std::int64_t>::max();

std::span<const FormatOption> options_of(std::string_view format) {
  const std::span<const FormatOption> options = create_options(format);
  if (options.empty()) throw Failure(fmt::format("Unknown file format '{}'", format));
  return options;
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
  if (const auto text = get("preallocation")) {
    const std::optional<Preallocation> mode = parse_preallocation(*text);
    if (!mode) throw not_accepted("preallocation", *text);
    options.preallocation = *mode;
  }
  if (options.size_bytes > kSizeBytesMax) throw Failure("The image size is too large");
  const bool has_metadata_mode = format_ == "qcow2" || format_ == "luks";
  if (!has_metadata_mode && options.preallocation == Preallocation::metadata) {
    throw Failure("Unsupported preallocation mode: metadata");
  }
  apply_encryption(format_, *this, secrets, purpose, options);
  if (takes("backing_file")) set_backing_file(options);
  if (format_ == "qcow2") set_qcow2_options(options);
  return options;
}

void CreateArguments::set_qcow2_options(CreateOptions& options) const {
  if (const auto level = get("compat")) options.version = parse_version(*level);
  if (const auto size = number("cluster_size")) {
    options.cluster_size_bytes = *size;
    // To the library, zero means the default.
    if (*size == 0) throw not_accepted("cluster_size", "0");
  }
  if (const auto bits = small_number("refcount_bits")) options.refcount_bits = *bits;
  if (const auto type = get("compression_type")) options.compression = parse_compression(*type);
  options.lazy_refcounts = is_on("lazy_refcounts");
  options.extended_l2 = is_on("extended_l2");
  options.data_file = get("data_file").value_or("");
  if (has("data_file") && options.data_file.empty()) throw not_accepted("data_file", "");
  options.data_file_raw = is_on("data_file_raw");
}

void CreateArguments::set_backing_file(CreateOptions& options) const {
  const std::optional<std::string> file = get("backing_file");
  const std::optional<std::string> format = get("backing_fmt");
  if (file && file->empty()) throw Failure("Expected backing file name, got empty string");
  if (format && !file) throw Failure("Backing format cannot be used without backing file");
  if (format && !is_known_format(*format)) throw not_accepted("backing_fmt", *format);
  options.backing_file = file.value_or("");
  options.backing_format = format.value_or("");
}

void CreateArguments::create_image(const std::string& path, const CreateOptions& options,
                                   Console& console) const {
  if (options.encryption == EncryptionFormat::aes) {
    console.error(
        "warning: the old AES encryption protects poorly; encrypt.format=luks is there for qcow2 "
        "images");
  }
  FileAttributes attributes;
  attributes.no_copy_on_write = is_on("nocow");
  attributes.extent_size_hint_bytes = small_number("extent_size_hint");
  apply_file_attributes(path, attributes);
  Image::create(path, options);
}

}  // namespace qcowkit::cli
