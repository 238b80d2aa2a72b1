// Images whose changes are kept aside.
#include "cli/io/overlay.h"

namespace qcowkit::cli::io {

namespace {

constexpr std::size_t kBackingNameBytesMax = 1023;  // qcow2 spec, Header

}  // namespace

std::unique_ptr<Image> open_with_overlay(const TemporaryFile& file, const ImageName& name,
                                         const NodeObjects& objects, const OpenOptions& options) {
  CreateOptions create;
  create.format = "qcow2";
  create.open_backing = false;
  {
    OpenOptions only_reading = options;
    only_reading.read_only = true;
    const std::unique_ptr<Image> below = open_image(name, objects, only_reading);
    create.size_bytes = below->virtual_size();
    // What lies below is what the node says. Where the header names it, too, what is discarded
    // reads as zeroes.
    const std::string path = name.node.text("file.filename");
    if (!path.empty() && path.size() <= kBackingNameBytesMax) {
      create.backing_file = path;
      create.backing_format = below->format();
    }
  }
  Image::create(file.path(), create);
  ImageName overlay = name;
  overlay.node = NodeOptions::from_path(file.path(), "qcow2");
  overlay.node.set_child("backing", name.node);
  OpenOptions of_overlay = options;
  if (options.locking == Locking::force_share) {
    // Only the image below is anyone else's.
    OpenOptions of_image = options;
    of_image.read_only = true;
    of_overlay.backing = std::make_shared<const OpenOptions>(of_image);
    of_overlay.locking = OpenOptions{}.locking;
  }
  return open_image(overlay, objects, of_overlay);
}

}  // namespace qcowkit::cli::io
