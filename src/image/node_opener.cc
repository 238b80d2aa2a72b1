#include "image/node_opener.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "image/image_impl.h"
#include "image/image_storage.h"
#include "image/limits.h"
#include "image/node_reader.h"
#include "image/references.h"
#include "image/request_options.h"

namespace qcowkit {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

/// The driver of a file that none was named for.
const Driver& driver_of_path(const std::string& path) {
  struct stat status {};
  const bool is_device =
      ::stat(path.c_str(), &status) == 0 && (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode));
  return require_driver(is_device ? "host_device" : "file");
}

CacheMode cache_mode(bool direct, bool no_flush, bool write_through) {
  if (no_flush) return CacheMode::unsafe;
  if (direct) return write_through ? CacheMode::directsync : CacheMode::none;
  return write_through ? CacheMode::writethrough : CacheMode::writeback;
}

void read_cache_options(NodeReader& reader, OpenOptions& options) {
  const CacheMode mode = options.cache;
  const bool was_direct = mode == CacheMode::none || mode == CacheMode::directsync;
  const bool direct = reader.take_boolean("cache.direct").value_or(was_direct);
  const bool no_flush = reader.take_boolean("cache.no-flush").value_or(mode == CacheMode::unsafe);
  options.cache = cache_mode(direct, no_flush,
                             mode == CacheMode::writethrough || mode == CacheMode::directsync);
}

void read_zero_options(NodeReader& reader, OpenOptions& options) {
  if (const auto discard = reader.take_text("discard")) {
    const bool is_on = *discard == "unmap" || *discard == "on";
    if (!is_on && *discard != "ignore" && *discard != "off")
      throw invalid("Invalid discard option");
    options.ignore_discards = !is_on;
  }
  const std::optional<std::string> detect = reader.take_text("detect-zeroes");
  if (!detect) return;
  if (*detect == "off") {
    options.detect_zeroes = DetectZeroes::off;
  } else if (*detect == "on") {
    options.detect_zeroes = DetectZeroes::on;
  } else if (*detect == "unmap") {
    if (options.ignore_discards) {
      throw invalid(
          "setting detect-zeroes to unmap is not allowed without setting discard operation to "
          "unmap");
    }
    options.detect_zeroes = DetectZeroes::unmap;
  } else {
    throw invalid(fmt::format("invalid parameter value: {}", *detect));
  }
}

/// A letter, then letters, digits, '-', '.' and '_'.
bool is_well_formed(const std::string& name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  constexpr std::string_view kOthers = "0123456789-._";
  return !name.empty() && name.size() <= 31 && is_letter(name[0]) &&
         std::ranges::all_of(
             name, [&](char c) { return is_letter(c) || kOthers.find(c) != kOthers.npos; });
}

}  // namespace

void read_generic_options(NodeReader& reader, OpenOptions& options, NodeOpener& opener) {
  if (const auto name = reader.take_text("node-name")) opener.enter_name(*name);
  const bool read_only = reader.take_boolean("read-only").value_or(false);
  reader.take_boolean("auto-read-only");
  const std::optional<bool> force_share = reader.take_boolean("force-share");
  read_cache_options(reader, options);
  read_zero_options(reader, options);
  if (force_share.value_or(false)) {
    if (!options.read_only && !read_only) {
      throw invalid("force-share=on can only be used with read-only images");
    }
    options.locking = Locking::force_share;
  }
  if (read_only && !options.read_only) throw Error(Errc::read_only, "Block node is read-only");
}

OpenOptions options_of_file(const OpenOptions& options) {
  OpenOptions file;
  file.read_only = options.read_only;
  file.cache = options.cache;
  file.locking = options.locking;
  file.references = options.references;
  file.listener = options.listener;
  file.objects = options.objects;
  file.on_mismatch = options.on_mismatch;
  file.unlock = options.unlock;
  return file;
}

OpenOptions options_of_filtered(const OpenOptions& options) {
  OpenOptions filtered = options_of_file(options);
  filtered.open_backing = options.open_backing;
  filtered.open_data_file = options.open_data_file;
  filtered.for_check = options.for_check;
  return filtered;
}

NodeOpener NodeOpener::deeper() const {
  NodeOpener opener = *this;
  if (++opener.depth_ > kNodeDepthMax) {
    throw Error(Errc::limit_exceeded,
                fmt::format("more than {} nodes lie above each other", kNodeDepthMax));
  }
  if (++opener.shared_->nodes > kNodesMax) {
    throw Error(Errc::limit_exceeded, fmt::format("there are more than {} nodes", kNodesMax));
  }
  return opener;
}

NodeOpener NodeOpener::for_reference() const {
  NodeOpener opener = *this;
  opener.is_reference_ = true;
  opener.files_.clear();
  return opener;
}

NodeOpener NodeOpener::for_backing(const std::vector<std::string>& files, bool by_caller) const {
  NodeOpener opener = for_reference();
  if (by_caller) opener.is_reference_ = is_reference_;
  ++opener.chain_depth_;
  --opener.depth_;  // the chain has a bound of its own
  opener.overlay_ = std::make_shared<Overlay>(files, overlay_);
  return opener;
}

void NodeOpener::enter_other(const OpenOptions& options, const std::string& name) const {
  if (is_reference_ && options.references.allow && !options.references.allow(name)) {
    throw Error(Errc::reference_refused,
                fmt::format("'{}': files that the image refers to may not be opened", name));
  }
  if (chain_depth_ > options.references.chain_depth_max) {
    throw Error(Errc::limit_exceeded, fmt::format("the backing chain has more than {} images",
                                                  options.references.chain_depth_max));
  }
}

bool NodeOpener::is_above(const std::string& identity) const {
  for (const Overlay* overlay = overlay_.get(); overlay != nullptr;
       overlay = overlay->above.get()) {
    if (std::ranges::find(overlay->files, identity) != overlay->files.end()) return true;
  }
  return false;
}

void NodeOpener::enter_file(const OpenOptions& options, const std::string& path) {
  enter_other(options, path);
  std::string identity = file_identity(path);
  if (is_above(identity)) {
    throw Error(Errc::corrupt,
                fmt::format("'{}': the backing chain comes back to this file", path));
  }
  files_.push_back(std::move(identity));
}

void NodeOpener::enter_name(const std::string& node_name) {
  if (!is_well_formed(node_name)) {
    throw invalid(fmt::format("Invalid node-name: '{}'", node_name));
  }
  if (!shared_->names.insert(node_name).second) {
    throw invalid(fmt::format("Duplicate nodes with node-name='{}'", node_name));
  }
}

OpenedNode NodeOpener::open_storage(NodeOptions node, const OpenOptions& options, NodeRole role) {
  NodeOpener opener = deeper();
  const std::string name = node.text("driver");
  const Driver* driver = name.empty() ? nullptr : &require_driver(name);
  if (driver == nullptr && role == NodeRole::protocol) {
    const std::string path = node.text("filename");
    if (node.find("filename") == nullptr ||
        !std::holds_alternative<std::string>(*node.find("filename"))) {
      throw invalid("Must specify either driver or file");
    }
    driver = &driver_of_path(path);
  }
  OpenedNode opened;
  if (driver == nullptr || driver->is_format()) {
    std::unique_ptr<Image> image = Image::Impl::open_node(opener, std::move(node), options);
    opened.label = Image::Impl::of(*image).label;
    opened.storage = make_image_storage(std::move(image));
  } else {
    NodeReader reader(std::move(node));
    reader.take_name("driver");
    OpenOptions own = options;
    read_generic_options(reader, own, opener);
    opened = driver->open(opener, reader, own);
    reader.require_empty(*driver);
    opened.storage = with_request_options(std::move(opened.storage), own);
    opened.driver = driver;
    if (options.listener) opened.storage->set_listener(options.listener.get());
  }
  files_.insert(files_.end(), opener.files_.begin(), opener.files_.end());
  return opened;
}

std::unique_ptr<Image> NodeOpener::open_image(NodeOptions node, const OpenOptions& options) {
  NodeOpener opener = deeper();
  std::unique_ptr<Image> image = Image::Impl::open_node(opener, std::move(node), options);
  files_.insert(files_.end(), opener.files_.begin(), opener.files_.end());
  return image;
}

}  // namespace qcowkit
