// Creating images.
#include <fmt/core.h>

#include "formats/luks/luks_layer.h"
#include "formats/qcow1/create.h"
#include "formats/qcow2/create.h"
#include "image/drivers.h"
#include "image/references.h"
#include "qcowkit/image.h"
#include "qcowkit/node.h"

namespace qcowkit {

namespace {

/// The options with the size filled in from the backing file where it is not given, after a look
/// at the backing file.
CreateOptions with_backing_looked_at(const std::string& path, CreateOptions options) {
  if (options.backing_file.empty() || !options.open_backing) return options;
  NodeOptions node;
  if (has_protocol(options.backing_file)) {
    node = NodeOptions::from_name(options.backing_file, options.backing_format);
  } else {
    const std::string backing_path = resolve_reference(path, options.backing_file);
    if (file_identity(backing_path) == file_identity(path)) {
      throw Error(Errc::invalid_argument,
                  fmt::format("'{}' cannot be its own backing file", options.backing_file));
    }
    node = NodeOptions::from_path(backing_path, options.backing_format);
  }
  try {
    OpenOptions open_options;
    open_options.references = options.references;
    const std::unique_ptr<Image> backing = Image::open(node, open_options);
    if (!options.size_bytes) options.size_bytes = backing->virtual_size();
  } catch (const Error& error) {
    throw error.within("Could not open backing image");
  }
  return options;
}

void require_size(const CreateOptions& options) {
  if (!options.size_bytes) {
    throw Error(Errc::invalid_argument,
                "the image's size is not given, and there is no backing "
                "file to take it from");
  }
}

void require_known_format(const CreateOptions& options) {
  if (options.format != "raw" && options.format != "luks" && options.format != "qcow" &&
      options.format != "qcow2") {
    throw Error(Errc::unsupported, fmt::format("Unknown file format '{}'", options.format));
  }
  if (options.format == "raw" && !options.backing_file.empty()) {
    throw Error(Errc::invalid_argument, "a raw image cannot have a backing file");
  }
}

void format_storage(Storage& storage, Storage* data_file, const CreateOptions& options) {
  if (options.format == "luks") {
    luks::create_image(storage, options);
    return;
  }
  if (options.format == "qcow") {
    qcow1::create_image(storage, options);
    return;
  }
  if (options.format == "qcow2") {
    qcow2::create_image(storage, data_file, options);
    return;
  }
  storage.resize(0, Preallocation::off);
  storage.resize(*options.size_bytes, options.preallocation);
  storage.flush();
}

}  // namespace

void Image::create(Storage& storage, const CreateOptions& options) {
  require_known_format(options);
  const CreateOptions complete = with_backing_looked_at(storage.name(), options);
  require_size(complete);
  if (!complete.data_file.empty()) {
    const std::string data_path = resolve_data_file(complete.data_file);
    const auto data_file = open_file(data_path, {.create = true, .cache = complete.cache});
    format_storage(storage, data_file.get(), complete);
    data_file->close();
    return;
  }
  format_storage(storage, nullptr, complete);
}

void Image::create(const std::string& path, const CreateOptions& options) {
  try {
    require_known_format(options);
    const CreateOptions complete = with_backing_looked_at(path, options);
    require_size(complete);
    if (complete.format == "luks") luks::validate_create_options(complete);
    if (complete.format == "qcow") qcow1::validate_create_options(complete);
    if (complete.format == "qcow2") qcow2::validate_create_options(complete);
    std::unique_ptr<Storage> data_file;
    if (!complete.data_file.empty()) {
      const std::string data_path = resolve_data_file(complete.data_file);
      if (file_identity(data_path) == file_identity(path)) {
        throw Error(Errc::invalid_argument, "the external data file cannot be the image itself");
      }
      data_file = open_file(data_path, {.create = true, .cache = complete.cache});
    }
    const auto storage = open_file(path, {.create = true, .cache = complete.cache});
    format_storage(*storage, data_file.get(), complete);
    if (data_file) data_file->close();
    storage->close();
  } catch (const Error& error) {
    throw error.within(path);
  }
}

}  // namespace qcowkit
