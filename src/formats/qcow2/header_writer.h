// Replacing the header of an image in use.
#pragma once

#include <functional>

#include "formats/qcow2/header.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// A header could neither be replaced nor be restored.
class UnknownHeader : public Error {
 public:
  explicit UnknownHeader(const Error& cause) : Error(cause.within("writing the header")) {}
};

/// Writes `changed` over `present`, the header that the image in `storage` has. A crash at any
/// moment leaves one of the two (or a shorter form of the new one that means the same): fields of
/// fixed size change in one write of one sector; where extensions or the backing file name change,
/// the other sectors are rewritten while the first does not refer to them.
///
/// `barrier` makes all that was written so far durable. It is not called behind the last write.
/// Throws `Error` (invalid_argument) if the header does not fit into a cluster, and I/O errors:
/// then the image has the header that it had before, unless the error is an `UnknownHeader`.
void write_header(Storage& storage, const Header& present, const Header& changed,
                  const std::function<void()>& barrier);

}  // namespace qcowkit::qcow2
