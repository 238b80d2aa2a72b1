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
/// middle leaves at worst leaks.
///
/// - `Repair::leaks` lowers refcounts that are higher than the number of references and, if nothing
///   is corrupt, sets COPIED flags right.
/// - `Repair::all` also raises refcounts, sets flags right in any case, writes new refcount
///   structures where they are damaged or missing, completes the snapshot table, and takes
///   unaligned host clusters that nothing is read from out of L2 entries. What else is wrong is
///   reported and left.
///
/// A table that is also something else is never written to, no refcount is lowered while not all
/// that refers to clusters can be read, and the bytes of freed clusters are kept while anything is
/// corrupt. The dirty and corrupt bits are cleared once all is well; the dirty bit also when
/// `Repair::all` has set all refcounts right.
///
/// Memory: a byte for each cluster of the file (two or four where many are referenced often), some
/// MiB of buffers, and 16 bytes for each L2 table. Throws `Error` for I/O errors, cancellation, and
/// files with too many clusters; a structure that cannot be read counts as a check error instead
/// where the rest can be checked without it.
CheckReport check_image(Storage& storage, const Header& header, const CheckOptions& options);

}  // namespace qcowkit::qcow2
