// The ways to open an image, and to open it anew.
#include <fmt/core.h>

#include "image/image_impl.h"
#include "image/named.h"
#include "image/node_reader.h"
#include "image/references.h"

namespace qcowkit {

namespace {

std::string could_not_open(const std::string& path) {
  return fmt::format("Could not open '{}'", path);
}

}  // namespace

std::unique_ptr<Image> Image::open(const NodeOptions& node, const OpenOptions& options) {
  return NodeOpener().open_image(node, options);
}

std::unique_ptr<Image> Image::open(const std::string& path, const OpenOptions& options) {
  try {
    OpenOptions others = options;
    others.format.clear();
    return open(NodeOptions::from_path(path, options.format), others);
  } catch (const Error& error) {
    throw error.within(could_not_open(path));
  }
}

std::unique_ptr<Image> Image::open(std::unique_ptr<Storage> storage, const OpenOptions& options) {
  const std::string name = storage->name();
  try {
    return Impl::open_in_storage(std::move(storage), options);
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

void Image::reopen(bool read_only) {
  if (read_only == is_read_only()) return;
  OpenOptions options = impl_->options;
  options.read_only = read_only;
  reopen({}, options);
}

void Image::reopen(const NodeOptions& changes, const OpenOptions& options) {
  NodeOptions node = changes;
  node.add_defaults(impl_->node);
  named(impl_->filename, [&] { impl_->reopen(node, options); });
}

OpenOptions Image::open_options() const { return impl_->options; }

}  // namespace qcowkit
