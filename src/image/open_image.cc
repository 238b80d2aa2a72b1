// From a tree of nodes to an image: its driver, its file, its layer, its backing file.
#include <fmt/core.h>

#include "formats/raw/raw_layer.h"
#include "image/image_impl.h"
#include "image/image_storage.h"
#include "image/node_name.h"
#include "image/node_reader.h"
#include "image/references.h"

namespace qcowkit {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

/// A file that is being written to by somebody else may be read as raw, as the reference allows: it
/// has no metadata that could be in the middle of a change.
OpenedNode open_file_node(NodeOpener& opener, const NodeOptions& file, const OpenOptions& options,
                          const std::string& format) {
  OpenOptions file_options = options_of_file(options);
  try {
    return opener.open_storage(file, file_options, NodeRole::protocol);
  } catch (const Error& error) {
    if (error.code() != Errc::in_use || !options.read_only) throw;
    file_options.locking = Locking::force_share;
    NodeOptions again = file;
    again.remove("node-name");  // has been taken by the first attempt
    OpenedNode shared = opener.open_storage(again, file_options, NodeRole::protocol);
    const std::string found = format.empty() ? probe_storage(*shared.storage) : format;
    if (found != "raw") throw;
    return shared;
  }
}

OpenOptions options_of_backing(const OpenOptions& options) {
  OpenOptions backing;
  if (options.backing) {
    backing = *options.backing;
    if (!backing.objects) backing.objects = options.objects;
    if (!backing.listener) backing.listener = options.listener;
    // Whoever forbids references means the whole chain.
    if (!backing.references.allow) backing.references = options.references;
  } else {
    backing = options;
    backing.format.clear();
    backing.secret = nullptr;
    backing.snapshot = {};
    backing.for_check = false;
    backing.backing_file.clear();
  }
  backing.read_only = true;
  return backing;
}

/// What the options say of the backing file, completed with what the image says of it.
NodeOptions backing_node(NodeOptions given, const BackingReference& stored,
                         const OpenOptions& options, const OpenOptions& backing_options,
                         const std::string& path) {
  std::string driver = given.text("driver");
  if (driver.empty()) driver = backing_options.format;
  if (driver.empty()) driver = stored.format;
  NodeOptions named;
  if (!options.backing_file.empty()) {
    named = NodeOptions::from_path(options.backing_file, driver);
  } else if (!path.empty() && given.find("file.filename") == nullptr) {
    if (given.find("filename") != nullptr) {
      throw invalid("Can't specify 'file' and 'filename' options at the same time");
    }
    named = has_protocol(stored.name) ? NodeOptions::from_name(stored.name, driver)
                                      : NodeOptions::from_path(path, driver);
    const std::string file_driver = given.text("file.driver");
    if (!file_driver.empty()) named.set_child("file", storage_from_name(path, file_driver));
  } else if (!driver.empty()) {
    named.set("driver", driver);
  }
  given.add_defaults(named);
  return given;
}

/// Takes "backing" away where it says that there is no backing file, whichever the image names: by
/// a null or, as was usual once, by an empty name.
bool take_no_backing(NodeReader& reader) {
  const NodeOptions::Value* const value = reader.left().find("backing");
  if (value == nullptr || reader.has_child("backing")) return false;
  const std::string* const text = std::get_if<std::string>(value);
  const bool is_none =
      text != nullptr ? text->empty() : std::holds_alternative<std::nullptr_t>(*value);
  if (is_none) reader.take_text("backing");
  return is_none;
}

}  // namespace

void Image::Impl::read_request_options(const OpenOptions& own) {
  write_through = own.cache == CacheMode::writethrough || own.cache == CacheMode::directsync;
  ignores_discards = own.ignore_discards;
  detect_zeroes = own.detect_zeroes;
}

void Image::Impl::make_label() {
  const Driver& driver = require_driver(format);
  if (!driver.is_format()) {
    label = file_label;
    return;
  }
  LabelBuilder builder(format);
  bool is_plain = !builder.add_strong_options(driver, node);
  builder.add_json("file", file_label.json);
  if (backing && !node.child("backing").empty()) {
    builder.add_json("backing", of(*backing).label.json);
    is_plain = false;
  } else if (node.find("backing") != nullptr && options.open_backing) {
    builder.add("backing", nullptr);
    is_plain = false;
  }
  label = file_label;
  label.json = builder.json();
  if (layer->cluster_size() != 0) label.cluster_bytes = layer->cluster_size();
  if (!is_plain || !is_over_protocol) label.exact.clear();
}

BackingReference Image::Impl::open_layer_of(NodeOpener& opener, NodeReader& reader,
                                            OpenOptions& own) {
  std::string name = reader.take_name("driver");
  if (name.empty()) name = own.format;
  own.format.clear();
  const Driver* driver = name.empty() ? nullptr : &require_driver(name);
  read_generic_options(reader, own, opener);
  read_request_options(own);
  if (driver != nullptr && !driver->is_format()) {
    OpenedNode opened = driver->open(opener, reader, own);
    if (own.listener) opened.storage->set_listener(own.listener.get());
    format = name;
    file_label = opened.label;
    file = file_label.shown();
    layer = std::make_unique<raw::RawLayer>(std::move(opened.storage), own.read_only);
    return {};
  }

  const NodeOptions file_node = reader.take_child_or_reference("file");
  if (file_node.empty()) {
    throw invalid(driver != nullptr ? "A block device must be specified for \"file\""
                                    : "Must specify either driver or file");
  }
  OpenedNode opened = open_file_node(opener, file_node, own, name);
  format = driver != nullptr ? name : probe_storage(*opened.storage);
  if (driver == nullptr) is_guessed_raw = format == "raw";
  file_label = opened.label;
  is_over_protocol = opened.driver != nullptr && opened.driver->is_protocol;
  file = file_label.shown();
  LayerRequest request;
  request.format = format;
  request.is_guessed_raw = is_guessed_raw;
  request.storage = std::move(opened.storage);
  request.options = own;
  request.open_data_file = [&](const std::string* stored_name) {
    return open_data_file(opener, reader, own, stored_name);
  };
  OpenedLayer result = open_layer(std::move(request), reader);
  layer = std::move(result.layer);
  if (format == "qcow2") reader.take_child("data-file");  // where it was not wanted
  return std::move(result.backing);
}

std::unique_ptr<Storage> Image::Impl::open_data_file(NodeOpener& opener, NodeReader& reader,
                                                     const OpenOptions& own,
                                                     const std::string* stored_name) {
  NodeOptions data_node = reader.take_child_or_reference("data-file");
  NodeOpener data_opener = opener;
  if (data_node.empty()) {
    if (stored_name == nullptr) return nullptr;
    if (stored_name->empty()) throw invalid("'data-file' is required for this image");
    data_node = storage_from_name(*stored_name);
    data_opener = opener.for_reference();
  }
  return data_opener.open_storage(data_node, options_of_file(own), NodeRole::protocol).storage;
}

void Image::Impl::open_backing(NodeOpener& opener, NodeReader& reader,
                               const BackingReference& stored, const OpenOptions& own) {
  if (!stored.name.empty() && own.backing_file.empty()) {
    if (has_protocol(stored.name)) {
      backing_path = stored.name;
    } else if (file_label.location || stored.name.starts_with('/')) {
      backing_path = resolve_reference(file_label.location.value_or(""), stored.name);
    }
  } else {
    backing_path = own.backing_file;
  }
  if (take_no_backing(reader) || !own.open_backing) return;
  if (!stored.is_possible) {
    if (!own.backing_file.empty() || reader.has_child("backing")) {
      throw invalid("Driver doesn't support backing files");
    }
    return;
  }
  const bool is_only_named = !reader.has("backing") && !reader.has_child("backing");
  if (is_only_named && !stored.name.empty() && backing_path.empty()) {
    throw invalid(fmt::format("Cannot generate a base directory for {} nodes", file_label.driver));
  }
  try {
    NodeOptions given = reader.take_child_or_reference("backing");
    if (given.empty() && stored.name.empty() && own.backing_file.empty()) return;
    const bool by_caller =
        !own.backing_file.empty() || stored.name.empty() || given.find("file.filename") != nullptr;
    NodeOpener backing_opener = opener.for_backing(opener.files(), by_caller);
    OpenOptions backing_options = options_of_backing(own);
    NodeOptions tree = backing_node(std::move(given), stored, own, backing_options, backing_path);
    backing_options.format.clear();
    backing = backing_opener.open_image(std::move(tree), backing_options);
  } catch (const Error& error) {
    constexpr std::string_view kWhere = "Could not open backing file";
    // Said once, not for each image of a chain that is too long.
    if (error.code() == Errc::limit_exceeded && error.message().starts_with(kWhere)) throw;
    throw error.within(std::string(kWhere));
  }
  layer->set_backing(of(*backing).layer.get());
  of(*backing).overlay = this;
}

std::unique_ptr<Image> Image::Impl::open_node(NodeOpener& opener, NodeOptions node,
                                              const OpenOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->node = node;
  impl->options = options;
  NodeReader reader(std::move(node));
  OpenOptions own = options;
  const BackingReference stored = impl->open_layer_of(opener, reader, own);
  impl->open_backing(opener, reader, stored, own);
  reader.require_empty(require_driver(impl->format));
  impl->make_label();
  impl->node.set("driver", impl->format);  // not to be found out again
  impl->filename = impl->label.shown();
  return make(std::move(impl));
}

std::unique_ptr<Image> Image::Impl::open_in_storage(std::unique_ptr<Storage> storage,
                                                    const OpenOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->file = storage->name();
  impl->file_label = {.exact = impl->file, .json = "{}", .location = impl->file};
  impl->is_over_protocol = true;
  impl->read_request_options(options);
  impl->format = options.format.empty() ? probe_storage(*storage) : options.format;
  impl->is_guessed_raw = options.format.empty() && impl->format == "raw";
  if (options.listener) storage->set_listener(options.listener.get());
  NodeOpener opener({file_identity(impl->file)});
  NodeReader reader({});
  LayerRequest request;
  request.format = impl->format;
  request.is_guessed_raw = impl->is_guessed_raw;
  request.storage = std::move(storage);
  request.options = options;
  request.open_data_file = [&](const std::string* stored_name) {
    return impl->open_data_file(opener, reader, options, stored_name);
  };
  OpenedLayer opened = open_layer(std::move(request), reader);
  impl->layer = std::move(opened.layer);
  impl->open_backing(opener, reader, opened.backing, options);
  impl->make_label();
  impl->filename = impl->label.shown();
  return make(std::move(impl));
}

void Image::Impl::reopen(const NodeOptions& new_node, const OpenOptions& new_options) {
  if (node.empty()) {
    throw Error(Errc::unsupported, "an image in a storage of the caller's cannot be reopened");
  }
  const auto open_as = [&](const NodeOptions& wanted, const OpenOptions& wanted_options) {
    NodeOpener opener;
    NodeReader reader(wanted);
    OpenOptions own = wanted_options;
    open_layer_of(opener, reader, own);
    if (!take_no_backing(reader)) reader.take_child_or_reference("backing");
    reader.require_empty(require_driver(format));
    layer->set_backing(backing ? of(*backing).layer.get() : nullptr);
    if (overlay != nullptr) overlay->layer->set_backing(layer.get());
    node = wanted;
    options = wanted_options;
    make_label();
    filename = label.shown();
  };
  // Its own locks would be in the way of the new file.
  layer->close();
  const NodeOptions old_node = node;
  const OpenOptions old_options = options;
  try {
    open_as(new_node, new_options);
  } catch (const Error& error) {
    try {
      layer->close();  // the new one, if it was not what followed that failed
    } catch (const Error&) {
      // Nothing was written through it.
    }
    open_as(old_node, old_options);
    throw error.within(fmt::format("cannot reopen the image for {}",
                                   new_options.read_only ? "reading only" : "writing"));
  }
}

}  // namespace qcowkit
