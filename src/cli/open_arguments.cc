// From a file name and options to an open image.
#include "cli/open_arguments.h"

#include <fmt/core.h>

#include <filesystem>
#include <limits>
#include <system_error>

#include "base/units.h"
#include "cli/failure.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

/// What stands before the first ':' of a name, if that comes before any '/'.
std::string_view protocol_of(std::string_view name) {
  const std::size_t end = name.find_first_of(":/");
  return end != name.npos && name[end] == ':' ? name.substr(0, end) : std::string_view{};
}

constexpr std::string_view kJsonPrefix = "json:";

/// "driver=qcow2,file.driver=file,file.filename=x" and its shorter forms.
ImageName name_from_options(const std::string& text, const std::vector<KeyValue>& list) {
  ImageName name{.text = text, .path = {}, .format = {}, .options = parse_image_options(list)};
  name.is_bare_file = name.options.is_bare_file();
  name.format = name.options.format();
  const std::optional<std::string> path = name.options.path();
  if (!path) throw Failure("the option 'file.filename' is missing");
  name.path = *path;
  return name;
}

Failure cannot_open(const std::string& text, std::string_view why, int exit_code) {
  const std::string reason = without_name(why, text);
  const std::string prefix = fmt::format("Could not open '{}': ", text);
  return Failure(reason.starts_with(prefix) ? reason : prefix + reason, exit_code);
}

/// Refuses a chain that holds an encrypted image whose passphrase is not known.
void require_secrets(const Image& image, const OpenOptions& options) {
  if (image.is_encrypted() && !options.secret) {
    throw Failure(
        fmt::format("Parameter '{}' is required for cipher", key_secret_option(image.format())));
  }
  if (image.backing() == nullptr) return;
  try {
    require_secrets(*image.backing(), options.backing ? *options.backing : OpenOptions{});
  } catch (const Failure& e) {
    throw Failure(fmt::format("Could not open backing file: {}", e.what()));
  }
}

/// Refuses an image that is encrypted in another way than its options say.
void require_encryption(const Image& image, std::string_view expected) {
  const EncryptionFormat format = image.info().encryption;
  if (format == EncryptionFormat::none) {
    throw Failure(
        fmt::format("No encryption in image header, but options specified format '{}'", expected));
  }
  const std::string_view found = format == EncryptionFormat::aes ? "aes" : "luks";
  if (found == expected) return;
  throw Failure(fmt::format("Header reported '{}' encryption format but options specify '{}'",
                            found, expected));
}

std::unique_ptr<Image> open_checked(const ImageName& name, const OpenOptions& options) {
  std::unique_ptr<Image> image = Image::open(name.path, options);
  if (name.options.encryption) require_encryption(*image, *name.options.encryption);
  return image;
}

}  // namespace

ImageName parse_image_name(const std::string& text, bool image_opts,
                           const std::optional<std::string>& format) {
  if (image_opts && format) throw Failure("--image-opts and --format are mutually exclusive");
  try {
    if (image_opts) return name_from_options(text, parse_key_values(text));
    if (text.starts_with(kJsonPrefix)) {
      const std::string_view json = std::string_view(text).substr(kJsonPrefix.size());
      ImageName name = name_from_options(text, parse_json_options(json));
      if (format && name.format.empty()) name.format = *format;
      if (format && name.format != *format) throw Failure("Driver specified twice");
      return name;
    }
    return {.text = text, .path = local_path(text), .format = format.value_or(""), .options = {}};
  } catch (const Failure& e) {
    throw cannot_open(text, e.what(), e.exit_code());
  }
}

std::unique_ptr<Image> open_image(const ImageName& name, const Secrets& secrets,
                                  OpenOptions options, int exit_code) {
  try {
    name.options.apply(secrets, options);
    options.format = name.format;
    std::unique_ptr<Image> image = open_checked(name, options);
    require_secrets(*image, options);
    return image;
  } catch (const std::exception& e) {
    throw cannot_open(name.text, e.what(), exit_code);
  }
}

std::unique_ptr<Image> open_writable(const ImageName& name, const Secrets& secrets,
                                     OpenOptions options, Console& console) {
  options.read_only = false;
  std::unique_ptr<Image> image = open_image(name, secrets, options);
  if (name.format.empty() && image->format() == "raw") {
    console.write_error(fmt::format(
        "WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
        "         Automatically detecting the format is dangerous for raw images, write "
        "operations on block 0 will be restricted.\n"
        "         Specify the 'raw' format explicitly to remove the restrictions.\n",
        name.path));
  }
  return image;
}

std::unique_ptr<Image> open_for_description(const ImageName& name, OpenOptions options) {
  try {
    if (name.options.backing) {
      throw Failure(fmt::format("Block format '{}' does not support the option '{}'", name.format,
                                name.options.first_backing_option));
    }
    options.format = name.format;
    options.open_backing = false;
    if (name.options.force_share) options.locking = Locking::force_share;
    if (name.options.without_locks) options.locking = Locking::off;
    return open_checked(name, options);
  } catch (const std::exception& e) {
    throw cannot_open(name.text, e.what(), Failure::kCommandsOwn);
  }
}

std::string without_name(std::string_view message, std::string_view name) {
  const std::string prefix = fmt::format("{}: ", name);
  while (message.starts_with(prefix)) message.remove_prefix(prefix.size());
  return std::string(message);
}

bool is_same_file(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return std::filesystem::equivalent(a, b, ignored);
}

void close_image(Image& image, const ImageName& name) {
  try {
    image.close();
  } catch (const Error& e) {
    throw Failure(
        fmt::format("Could not close '{}': {}", name.text, without_name(e.what(), name.path)));
  }
}

CacheMode parse_cache_mode(const std::string& text, std::string_view what, int exit_code) {
  if (text == "none" || text == "off") return CacheMode::none;
  if (text == "writeback") return CacheMode::writeback;
  if (text == "writethrough") return CacheMode::writethrough;
  if (text == "directsync") return CacheMode::directsync;
  if (text == "unsafe") return CacheMode::unsafe;
  throw Failure(fmt::format("Invalid {} option: {}", what, text), exit_code);
}

std::string local_path(const std::string& text) {
  const std::string_view protocol = protocol_of(text);
  if (protocol.empty()) return text;
  if (protocol != "file") throw Failure(fmt::format("Unknown protocol '{}'", protocol));
  return text.substr(protocol.size() + 1);
}

std::string resolve_reference(const std::string& image_path, const std::string& reference) {
  if (reference.starts_with('/') || !protocol_of(reference).empty()) return reference;
  const std::size_t slash = image_path.rfind('/');
  if (slash == image_path.npos) return reference;
  return image_path.substr(0, slash + 1) + reference;
}

std::uint64_t parse_size_argument(const std::string& text, std::string_view what) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  SizeProblem problem = SizeProblem::syntax;
  const std::optional<std::uint64_t> size = parse_size(text, &problem);
  if (size && *size <= kMax) return *size;
  if (size || problem == SizeProblem::out_of_range) {
    throw Failure(fmt::format("Invalid {} specified. Must be between 0 and {}.", what, kMax));
  }
  throw Failure(
      fmt::format("Invalid {} specified. Use the suffixes k, M, G, T, P or E for\n"
                  "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
                  what));
}

bool wants_json(const Arguments& arguments) {
  const std::string kind = arguments.value("--output").value_or("human");
  if (kind != "human" && kind != "json") {
    throw Failure("--output must be used with human or json as argument.");
  }
  return kind == "json";
}

}  // namespace qcowkit::cli
