// Nodes that filter or combine others.
#include <fmt/core.h>

#include "image/compress_filter.h"
#include "image/copy_on_read.h"
#include "image/image_impl.h"
#include "image/storage_drivers.h"
#include "storage/blkverify_storage.h"
#include "storage/preallocate_storage.h"
#include "storage/quorum_storage.h"
#include "storage/throttle_storage.h"

namespace qcowkit::drivers {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

/// Opens the child as an image, whatever it is: some filters need to see its chain.
std::unique_ptr<Image> open_filtered_image(NodeOpener& opener, NodeReader& reader,
                                           const OpenOptions& options) {
  NodeOptions child = reader.take_required_child("file");
  // A bare file needs no driver here.
  if (child.text("driver").empty() && child.find("filename") != nullptr)
    child.set("driver", "file");
  if (child.text("driver").empty()) throw invalid("Must specify either driver or file");
  return opener.open_image(std::move(child), options_of_filtered(options));
}

/// How far down the chain of `top` the node of this name is, if the options name it.
std::optional<std::uint32_t> depth_in_chain(NodeOptions top, const std::string& node_name) {
  for (std::uint32_t depth = 0; !top.empty(); ++depth) {
    if (top.text("node-name") == node_name) return depth;
    top = top.child("backing");
  }
  return std::nullopt;
}

}  // namespace

OpenedNode open_blkverify(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  OpenedNode raw = opener.open_storage(reader.take_required_child("raw"),
                                       options_of_filtered(options), NodeRole::protocol);
  OpenedNode test = opener.open_storage(reader.take_required_child("test"),
                                        options_of_filtered(options), NodeRole::image);
  LabelBuilder label("blkverify");
  label.add_json("raw", raw.label.json);
  label.add_json("test", test.label.json);
  const bool has_name = !raw.label.exact.empty() && !test.label.exact.empty();
  OpenedNode opened;
  opened.label = {
      .exact = has_name ? fmt::format("blkverify:{}:{}", raw.label.exact, test.label.exact) : "",
      .json = label.json(),
      .location = {},
      .driver = "blkverify",
      .hides_allocation = true};
  opened.storage =
      make_blkverify_storage(std::move(test.storage), std::move(raw.storage), options.on_mismatch);
  return opened;
}

OpenedNode open_compress(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  std::unique_ptr<Image> image = open_filtered_image(opener, reader, options);
  OpenedNode opened;
  opened.label =
      label_over(require_driver("compress"), reader.all(), "file", Image::Impl::of(*image).label);
  opened.storage = make_compress_storage(std::move(image));
  return opened;
}

OpenedNode open_copy_on_read(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  const NodeOptions chain = reader.all().child("file");
  std::unique_ptr<Image> image = open_filtered_image(opener, reader, options);
  CopyOnReadOptions copy;
  if (const auto bottom = reader.take_text("bottom")) {
    copy.bottom_depth = depth_in_chain(chain, *bottom);
    if (!copy.bottom_depth) throw invalid(fmt::format("Bottom node '{}' not found", *bottom));
  }
  OpenedNode opened;
  opened.label = label_over(require_driver("copy-on-read"), reader.all(), "file",
                            Image::Impl::of(*image).label);
  opened.storage = make_copy_on_read_storage(std::move(image), copy);
  return opened;
}

OpenedNode open_preallocate(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  PreallocateOptions preallocate;
  if (const auto align = reader.take_size("prealloc-align")) preallocate.align_bytes = *align;
  if (const auto size = reader.take_size("prealloc-size")) preallocate.size_bytes = *size;
  OpenedNode child = opener.open_storage(reader.take_required_child("file"),
                                         options_of_filtered(options), NodeRole::protocol);
  OpenedNode opened;
  opened.label = label_over(require_driver("preallocate"), reader.all(), "file", child.label);
  opened.storage = make_preallocate_storage(std::move(child.storage), preallocate);
  return opened;
}

OpenedNode open_throttle(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  OpenedNode child = opener.open_storage(reader.take_required_child("file"),
                                         options_of_filtered(options), NodeRole::protocol);
  const std::optional<std::string> name = reader.take_text("throttle-group");
  if (!name) throw invalid("Please specify a throttle group");
  std::shared_ptr<ThrottleGroup> group;
  if (options.objects) {
    const auto found = options.objects->throttle_groups.find(*name);
    if (found != options.objects->throttle_groups.end()) group = found->second;
  }
  if (!group) throw invalid(fmt::format("Throttle group '{}' does not exist", *name));
  OpenedNode opened;
  opened.label = label_over(require_driver("throttle"), reader.all(), "file", child.label);
  opened.storage = make_throttle_storage(std::move(child.storage), std::move(group));
  return opened;
}

}  // namespace qcowkit::drivers
