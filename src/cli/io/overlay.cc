// Images whose changes are kept aside.
#include "cli/io/overlay.h"

namespace qcowkit::cli::io {

std::unique_ptr<Image> open_with_overlay(const TemporaryFile& file, const ImageName& name,
                                         const NodeObjects& objects, const OpenOptions& options) {
  CreateOptions create;
  create.format = "qcow2";
  create.open_backing = false;
  {
    OpenOptions only_reading = options;
    only_reading.read_only = true;
    create.size_bytes = open_image(name, objects, only_reading)->virtual_size();
  }
  Image::create(file.path(), create);
  ImageName overlay = name;
  overlay.node = NodeOptions::from_path(file.path(), "qcow2");
  overlay.node.set_child("backing", name.node);
  return open_image(overlay, objects, options);
}

}  // namespace qcowkit::cli::io
