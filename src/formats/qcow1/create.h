// Laying out a new image.
#pragma once

#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow1 {

/// Throws `Error` (invalid_argument, limit_exceeded) if `create_image` would refuse these options,
/// before anything has been touched.
void validate_create_options(const CreateOptions& options);

/// Formats `storage`, which is emptied first, as an image of `options.size_bytes` (set by the
/// caller, also where it comes from a backing file), rounded up to whole sectors. Without
/// `cluster_size_bytes` the shape is the reference's: clusters of 4 KiB, or of 512 bytes over a
/// backing file. Durable on return, in an order in which a crash leaves either a file that is no
/// image or the whole image. Throws as above, or I/O errors.
void create_image(Storage& storage, const CreateOptions& options);

}  // namespace qcowkit::qcow1
