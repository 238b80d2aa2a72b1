// Images whose changes are kept aside.
#include "cli/io/overlay.h"

namespace qcowkit::cli::io {

std::unique_ptr<Image> open_with_overlay(const TemporaryFile& file, const ImageName& name,
                                         const NodeObjects& objects, const OpenOptions& options) {
  CreateOptions create;
  create.format = "qcow2";
  create.open_backing = false;
  // The node says which file that is. That there is one matters: what is discarded reads as zeroes.
  create.backing_file = "backing";
  create.backing_format = "raw";
  {
    OpenOptions only_reading = options;
    only_reading.read_only = true;
    create.size_bytes = open_image(name, objects, only_reading)->virtual_size();
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
