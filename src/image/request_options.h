// The options "discard" and "detect-zeroes" of a node that is no image.
#pragma once

#include <memory>

#include "qcowkit/options.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// `child` as `options.ignore_discards` and `options.detect_zeroes` want it: itself, if that is
/// what it does anyway.
std::unique_ptr<Storage> with_request_options(std::unique_ptr<Storage> child,
                                              const OpenOptions& options);

}  // namespace qcowkit
