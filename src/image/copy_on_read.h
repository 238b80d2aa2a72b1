// The driver "copy-on-read": what was read from a backing file is kept in the image.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

struct CopyOnReadOptions {
  /// The driver's "bottom": the depth in the chain (1: the image's backing file) of the lowest
  /// image whose bytes are kept. Without it all are, and clusters that no image has become zeroes.
  std::optional<std::uint32_t> bottom_depth = {};
};

/// The disk that `image` shows as a storage (see `make_image_storage`). Reads store whole clusters
/// that are not in the image's own layer there, and raise `Event::cor_write` first. Throws
/// `Error` (read_only) "Block node is read-only" if the image is.
std::unique_ptr<Storage> make_copy_on_read_storage(std::unique_ptr<Image> image,
                                                   const CopyOnReadOptions& options = {});

}  // namespace qcowkit
