// An image's guest bytes as host bytes: filters above formats, and formats in formats.
#pragma once

#include <memory>

#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// The disk that `image` shows as a storage, which owns the image and closes it. It grows by
/// `resize` only: writing past the end of the disk resizes it first where the format can. Listener
/// and breakpoints are those of the storage that the image lies in.
std::unique_ptr<Storage> make_image_storage(std::unique_ptr<Image> image);

}  // namespace qcowkit
