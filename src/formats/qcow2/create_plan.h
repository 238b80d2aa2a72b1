// What a new image will be: its header and where its tables go, from the options. No I/O, no locks.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/qcow2/header.h"
#include "formats/qcow2/layout.h"
#include "qcowkit/options.h"

namespace qcowkit::qcow2 {

/// All that is to be known before anything is touched.
struct CreatePlan {
  /// Throws `Error` (invalid_argument) for options that are out of range or do not go together.
  explicit CreatePlan(const CreateOptions& options);

  Header header;
  Layout layout;
  std::vector<std::byte> header_bytes;  ///< the header as it is to be written
};

/// True if the data clusters are to have space of their own from the start.
inline bool provides_space(Preallocation preallocation) noexcept {
  return preallocation == Preallocation::falloc || preallocation == Preallocation::full;
}

}  // namespace qcowkit::qcow2
