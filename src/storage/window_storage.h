// A part of another storage: the driver "raw" with "offset" and "size".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "qcowkit/storage.h"

namespace qcowkit {

struct WindowOptions {
  std::uint64_t offset_bytes = 0;
  /// A multiple of 512. Without it the window reaches to the storage's end and moves with it.
  std::optional<std::uint64_t> size_bytes = {};
};

/// The bytes of `child` from the offset on as a storage. One with a size can neither grow nor be
/// resized; writing past its end is an error. Throws `Error` (invalid_argument) for a window that
/// reaches out of `child`, in the reference's words.
std::unique_ptr<Storage> make_window_storage(std::unique_ptr<Storage> child,
                                             const WindowOptions& options);

}  // namespace qcowkit
