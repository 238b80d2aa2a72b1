// Laying out a new image.
#pragma once

#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// Throws `Error` (invalid_argument) if `create_image` would refuse these options, before anything
/// has been touched.
void validate_create_options(const CreateOptions& options);

/// Formats `storage`, which is emptied first, as an image of `options.size_bytes` (set by the
/// caller, also where it comes from a backing file). `data_file` is the external data file's
/// storage (already created, emptied here unless null). Structures lie as the reference lays them:
/// header, refcount table, refcount blocks, L1 table, and with preallocation L2 tables and data.
/// Durable on return, in an order in which a crash leaves either a file that is no image or the
/// whole image. Throws `Error`: invalid_argument naming the option and its limits, or I/O errors.
void create_image(Storage& storage, Storage* data_file, const CreateOptions& options);

}  // namespace qcowkit::qcow2
