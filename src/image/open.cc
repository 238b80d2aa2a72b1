// Opening an image and its chain.
#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "formats/luks/luks_layer.h"
#include "formats/qcow1/qcow1_layer.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshots.h"
#include "formats/raw/raw_layer.h"
#include "image/image_impl.h"
#include "image/probe.h"
#include "image/references.h"

namespace qcowkit {

namespace {

std::string probe_storage(Storage& storage) {
  std::vector<std::byte> first_bytes(std::min<std::uint64_t>(kProbeBytes, storage.size()));
  storage.read(0, first_bytes);
  return probe_format(first_bytes);
}

std::string could_not_open(const std::string& path) {
  return fmt::format("Could not open '{}'", path);
}

void require_allowed(const References& references, const std::string& path) {
  if (references.allow && !references.allow(path)) {
    throw Error(Errc::reference_refused,
                fmt::format("'{}': files that the image refers to may not be opened", path));
  }
}

/// Opens an image's file. A raw image may be read while somebody else writes to it, as the
/// reference allows: it has no metadata that could be in the middle of a change.
std::unique_ptr<Storage> open_image_file(const std::string& path, const OpenOptions& options) {
  FileOptions file_options{.read_only = options.read_only,
                           .create = false,
                           .cache = options.cache,
                           .locking = options.locking};
  try {
    return open_file(path, file_options);
  } catch (const Error& error) {
    if (error.code() != Errc::in_use || !options.read_only) throw;
    file_options.locking = Locking::force_share;
    std::unique_ptr<Storage> shared = open_file(path, file_options);
    const std::string format = options.format.empty() ? probe_storage(*shared) : options.format;
    if (format != "raw") throw;
    return shared;
  }
}

std::unique_ptr<Storage> open_data_file(const qcow2::Header& header, const OpenOptions& options) {
  if (!header.data_file) {
    throw Error(Errc::invalid_argument,
                "header: the image has an external data file, but not its name");
  }
  const std::string path = resolve_data_file(*header.data_file);
  require_allowed(options.references, path);
  try {
    return open_file(path, {.read_only = options.read_only,
                            .create = false,
                            .cache = options.cache,
                            .locking = options.locking});
  } catch (const Error& error) {
    throw error.within(could_not_open(path)).within("Could not open external data file");
  }
}

/// What an image says of its backing file.
struct BackingReference {
  std::string name;    ///< empty: none
  std::string format;  ///< empty: not said
};

std::unique_ptr<Layer> open_qcow1(std::unique_ptr<Storage> storage, const OpenOptions& options,
                                  BackingReference& backing) {
  const qcow1::Header header = qcow1::Qcow1Layer::read_header(*storage);
  backing.name = header.backing_file;
  return std::make_unique<qcow1::Qcow1Layer>(
      std::move(storage), header,
      qcow1::LayerOptions{options.read_only, options.l2_cache_bytes, options.secret});
}

std::unique_ptr<Layer> open_qcow2(std::unique_ptr<Storage> storage, const OpenOptions& options,
                                  BackingReference& backing) {
  qcow2::Header header = qcow2::Qcow2Layer::read_header(*storage, options.for_check);
  std::unique_ptr<Storage> data_file;
  if (header.has(qcow2::incompatible::kDataFile) && options.open_data_file) {
    data_file = open_data_file(header, options);
  }
  backing = {header.backing_file, header.backing_format.value_or("")};
  if (!options.snapshot.empty()) {
    if (!options.read_only) {
      throw Error(Errc::invalid_argument, "a snapshot can only be opened read-only");
    }
    header = qcow2::header_of_snapshot(header, *storage, options.snapshot);
  }
  qcow2::LayerOptions layer_options;
  layer_options.secret = options.secret;
  layer_options.read_only = options.read_only;
  layer_options.for_check = options.for_check;
  layer_options.metadata = {options.l2_cache_bytes, options.refcount_cache_bytes,
                            options.discard_pass_through,
                            options.read_only ? overlap::kNone : options.overlap_checks};
  return std::make_unique<qcow2::Qcow2Layer>(std::move(storage), std::move(data_file),
                                             std::move(header), layer_options);
}

std::unique_ptr<Layer> open_layer(const std::string& format, std::unique_ptr<Storage> storage,
                                  const OpenOptions& options, BackingReference& backing) {
  if (!options.snapshot.empty() && format != "qcow2") {
    throw Error(Errc::unsupported,
                fmt::format("images of the format '{}' have no internal snapshots", format));
  }
  if (format == "raw") {
    return std::make_unique<raw::RawLayer>(std::move(storage), options.read_only);
  }
  if (format == "luks") {
    return std::make_unique<luks::LuksLayer>(std::move(storage), options.read_only, options.secret);
  }
  if (format == "qcow") return open_qcow1(std::move(storage), options, backing);
  if (format == "qcow2") return open_qcow2(std::move(storage), options, backing);
  throw Error(Errc::unsupported, fmt::format("Unknown driver '{}'", format));
}

OpenOptions options_of_backing(const OpenOptions& options) {
  OpenOptions backing;
  if (options.backing) {
    backing = *options.backing;
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

}  // namespace

std::unique_ptr<Image> Image::Impl::open(const std::string& path, const OpenOptions& options,
                                         Chain& chain) {
  try {
    chain.identities.push_back(file_identity(path));
    std::unique_ptr<Image> image = open(open_image_file(path, options), options, chain);
    image->impl_->has_path = true;
    return image;
  } catch (const Error& error) {
    throw error.within(could_not_open(path));
  }
}

std::unique_ptr<Image> Image::Impl::open(std::unique_ptr<Storage> storage,
                                         const OpenOptions& options, Chain& chain) {
  auto impl = std::make_unique<Impl>();
  impl->filename = storage->name();
  impl->options = options;
  impl->write_through =
      options.cache == CacheMode::writethrough || options.cache == CacheMode::directsync;
  impl->format = options.format.empty() ? probe_storage(*storage) : options.format;
  BackingReference backing;
  impl->layer = open_layer(impl->format, std::move(storage), options, backing);
  if (!options.backing_file.empty() && (impl->format == "raw" || impl->format == "luks")) {
    throw Error(Errc::invalid_argument,
                fmt::format("images of the format '{}' have no backing file", impl->format));
  }

  const bool is_named = !backing.name.empty() || !options.backing_file.empty();
  if (is_named && options.open_backing) {
    try {
      impl->backing_path = options.backing_file.empty()
                               ? resolve_reference(impl->filename, backing.name)
                               : options.backing_file;
      require_allowed(options.references, impl->backing_path);
      if (chain.identities.size() >= options.references.chain_depth_max) {
        throw Error(Errc::limit_exceeded, fmt::format("the backing chain has more than {} images",
                                                      options.references.chain_depth_max));
      }
      const std::string identity = file_identity(impl->backing_path);
      if (std::find(chain.identities.begin(), chain.identities.end(), identity) !=
          chain.identities.end()) {
        throw Error(Errc::corrupt, fmt::format("'{}': the backing chain comes back to this file",
                                               impl->backing_path));
      }
      OpenOptions backing_options = options_of_backing(options);
      if (backing_options.format.empty()) backing_options.format = backing.format;
      impl->backing = open(impl->backing_path, backing_options, chain);
    } catch (const Error& error) {
      throw error.within("Could not open backing file");
    }
    impl->layer->set_backing(impl->backing->impl_->layer.get());
    impl->backing->impl_->overlay = impl.get();
  } else if (!backing.name.empty()) {
    try {
      impl->backing_path = resolve_reference(impl->filename, backing.name);
    } catch (const Error&) {
      impl->backing_path = backing.name;  // of a protocol that is not opened here
    }
  }
  return std::unique_ptr<Image>(new Image(std::move(impl)));
}

void Image::Impl::reopen(bool read_only) {
  if (read_only == layer->is_read_only()) return;
  if (!has_path) {
    throw Error(Errc::unsupported, "an image in a storage of the caller's cannot be reopened");
  }
  const auto open_as = [&](bool wanted_read_only) {
    OpenOptions wanted = options;
    wanted.format = format;
    wanted.read_only = wanted_read_only;
    BackingReference reference;
    layer = open_layer(format, open_image_file(filename, wanted), wanted, reference);
    layer->set_backing(backing ? backing->impl_->layer.get() : nullptr);
    if (overlay != nullptr) overlay->layer->set_backing(layer.get());
    options.read_only = wanted_read_only;
  };
  // Its own locks would be in the way of the new file.
  layer->close();
  try {
    open_as(read_only);
  } catch (const Error& error) {
    open_as(!read_only);
    throw error.within(
        fmt::format("cannot reopen the image for {}", read_only ? "reading only" : "writing"));
  }
}

std::unique_ptr<Image> Image::open(const std::string& path, const OpenOptions& options) {
  Impl::Chain chain;
  return Impl::open(path, options, chain);
}

std::unique_ptr<Image> Image::open(std::unique_ptr<Storage> storage, const OpenOptions& options) {
  const std::string name = storage->name();
  Impl::Chain chain{{file_identity(name)}};
  try {
    return Impl::open(std::move(storage), options, chain);
  } catch (const Error& error) {
    throw error.within(could_not_open(name));
  }
}

std::string Image::probe(const std::string& path) {
  try {
    return probe_storage(*open_file(path, {.locking = Locking::off}));
  } catch (const Error& error) {
    throw error.within(could_not_open(path));
  }
}

}  // namespace qcowkit
