// Consistency check and repair of a whole image, on its bytes (qcow2 spec, all structures).
#pragma once

#include "formats/qcow2/header.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// Walks everything that the header reaches, counts every reference to every host cluster, compares
/// with the refcounts and, as `options.repair` says, repairs. Reads and writes `storage` directly:
/// the caller has flushed its caches and lets nobody else use the image meanwhile, and rereads all
/// metadata (the header too) after a repair. Repairs obey the write-ordering rule: a crash in the
/// middle leaves at worst leaks. With the dirty bit set and `Repair::all` the refcounts are rebuilt
/// and the bit is cleared. Throws `Error` for I/O errors, cancellation, and images damaged beyond
/// reading.
CheckReport check_image(Storage& storage, const Header& header, const CheckOptions& options);

}  // namespace qcowkit::qcow2
