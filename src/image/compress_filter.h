// The driver "compress": whatever is written is stored compressed.
#pragma once

#include <memory>

#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// The disk that `image` shows as a storage (see `make_image_storage`) whose writes are stored as
/// compressed clusters. Parts of clusters are completed with what is there. Throws `Error`
/// (unsupported) "Compression is not supported for underlying format: ..." where there is none.
std::unique_ptr<Storage> make_compress_storage(std::unique_ptr<Image> image);

}  // namespace qcowkit
