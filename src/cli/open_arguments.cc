// From a file name and options to an open image.
#include "cli/open_arguments.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "cli/failure.h"
#include "cli/format_options.h"
#include "cli/trace.h"
#include "cli/untrusted.h"

namespace qcowkit::cli {

namespace {

/// What stands before the first ':' of a name, if that comes before any '/'.
std::string_view protocol_of(std::string_view name) {
  const std::size_t end = name.find_first_of(":/");
  return end != name.npos && name[end] == ':' ? name.substr(0, end) : std::string_view{};
}

/// The file that the node is made of, if it is nothing but a file in some format.
std::string path_of(const NodeOptions& node, const std::string& text) {
  for (const char* key : {"file.filename", "filename"}) {
    std::string path = node.text(key);
    if (!path.empty()) return path;
  }
  return text;
}

Failure cannot_open(const std::string& text, std::string_view why, int exit_code) {
  return Failure(fmt::format("Could not open '{}': {}", text, why), exit_code);
}

void warn_of_short_form(Console& console, std::string_view option) {
  const bool is_off = option.starts_with("no");
  console.error(fmt::format("warning: short-form boolean option '{}' deprecated", option));
  console.write_error(fmt::format("Please use {}={} instead\n", is_off ? option.substr(2) : option,
                                  is_off ? "off" : "on"));
}

NodeOptions read_list(const std::string& text, Console* console) {
  std::vector<std::string> short_forms;
  NodeOptions node = NodeOptions::from_list(text, &short_forms);
  if (console != nullptr) {
    for (const std::string& option : short_forms) warn_of_short_form(*console, option);
  }
  return node;
}

void warn_of_empty_backing(Console& console, const NodeOptions& node) {
  for (const auto& [key, value] : node.values()) {
    const std::string* const text = std::get_if<std::string>(&value);
    if (text == nullptr || !text->empty()) continue;
    if (key != "backing" && !key.ends_with(".backing")) continue;
    console.error("warning: Use of \"backing\": \"\" is deprecated; use \"backing\": null instead");
  }
}

/// Copies that differ end the program, as they end the reference.
void end_at_mismatch(const std::string& message) {
  std::fputs((message + '\n').c_str(), stderr);
  std::exit(1);
}

OpenOptions complete(const ImageName& name, OpenOptions options, const Secrets& secrets) {
  options.format.clear();
  options.objects = std::make_shared<const NodeObjects>(secrets);
  options.listener = trace_listener();
  options.references = allowed_references();
  options.on_mismatch = end_at_mismatch;
  if (name.node.text("driver").empty()) options.format = name.format;
  return options;
}

}  // namespace

ImageName parse_image_name(const std::string& text, bool image_opts,
                           const std::optional<std::string>& format, Console* console) {
  if (image_opts && format) throw Failure("--image-opts and --format are mutually exclusive");
  if (format && format->empty()) {
    throw cannot_open(text, "Unknown driver ''", Failure::kCommandsOwn);
  }
  try {
    ImageName name{.text = text, .path = {}, .format = {}, .node = {}};
    name.node =
        image_opts ? read_list(text, console) : NodeOptions::from_name(text, format.value_or(""));
    if (console != nullptr) warn_of_empty_backing(*console, name.node);
    name.path = path_of(name.node, text);
    name.format = name.node.text("driver");
    return name;
  } catch (const Error& e) {
    throw cannot_open(text, e.what(), Failure::kCommandsOwn);
  }
}

std::unique_ptr<Image> open_image(const ImageName& name, const Secrets& secrets,
                                  OpenOptions options, int exit_code) {
  try {
    options = complete(name, std::move(options), secrets);
    options.unlock = Unlock::required;
    return Image::open(name.node, options);
  } catch (const Error& e) {
    const bool lacks_secret =
        name.node.text("driver") == "luks" && name.node.find("key-secret") == nullptr;
    const bool is_other = e.code() == make_error_code(Errc::not_an_image);
    throw cannot_open(
        name.text,
        lacks_secret && is_other ? "Parameter 'key-secret' is required for cipher" : e.what(),
        exit_code);
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

std::unique_ptr<Image> open_for_description(const ImageName& name, OpenOptions options,
                                            const Secrets& secrets) {
  try {
    options = complete(name, std::move(options), secrets);
    options.unlock = Unlock::never;
    options.open_backing = false;
    options.ignore_discards = true;  // as the reference opens it, which some options depend on
    return Image::open(name.node, options);
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

std::string key_secret_option(std::string_view format) {
  return fmt::format("{}key-secret", encryption_prefix(format));
}

CacheMode parse_cache_mode(const std::string& text, std::string_view what, int exit_code) {
  if (text == "none" || text == "off") return CacheMode::none;
  if (text == "writeback") return CacheMode::writeback;
  if (text == "writethrough") return CacheMode::writethrough;
  if (text == "directsync") return CacheMode::directsync;
  if (text == "unsafe") return CacheMode::unsafe;
  throw Failure(fmt::format("Invalid {} option: {}", what, text), exit_code);
}

bool lies_on_server(const std::string& text) { return protocol_of(text).starts_with("nbd"); }

std::string local_path(const std::string& text) {
  const std::string_view protocol = protocol_of(text);
  if (protocol.empty()) return text;
  if (protocol == "file" || protocol == "host_device") return text.substr(protocol.size() + 1);
  if (!is_protocol(protocol)) throw Failure(fmt::format("Unknown protocol '{}'", protocol));
  throw Failure(fmt::format("Protocol driver '{}' does not support image creation", protocol));
}

void require_creatable(const std::string& text) {
  if (!lies_on_server(text)) local_path(text);
}

std::string resolve_reference(const std::string& image_path, const std::string& reference) {
  if (reference.starts_with('/') || !protocol_of(reference).empty()) return reference;
  const std::size_t slash = image_path.rfind('/');
  if (slash == image_path.npos) return reference;
  return image_path.substr(0, slash + 1) + reference;
}

bool wants_json(const Arguments& arguments) {
  const std::string kind = arguments.value("--output").value_or("human");
  if (kind != "human" && kind != "json") {
    throw Failure("--output must be used with human or json as argument.");
  }
  return kind == "json";
}

}  // namespace qcowkit::cli
