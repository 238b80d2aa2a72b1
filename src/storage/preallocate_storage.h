// The driver "preallocate": a file grows ahead of what is written behind its end.
#pragma once

#include <cstdint>
#include <memory>

#include "qcowkit/storage.h"

namespace qcowkit {

struct PreallocateOptions {
  std::uint64_t align_bytes = std::uint64_t{1} << 20;   ///< "prealloc-align"; a multiple of 512
  std::uint64_t size_bytes = std::uint64_t{128} << 20;  ///< "prealloc-size"
};

/// A storage whose child grows by at least `size_bytes` at once, to a multiple of `align_bytes`,
/// whenever something is written past its end. `size` tells of what was written; what was allocated
/// ahead is given back by `close`, which also the destructor does. Throws `Error`
/// (invalid_argument) for an alignment that is no multiple of 512.
std::unique_ptr<Storage> make_preallocate_storage(std::unique_ptr<Storage> child,
                                                  const PreallocateOptions& options);

}  // namespace qcowkit
