// The driver "throttle": requests wait until their group's limits allow them.
#pragma once

#include <memory>

#include "qcowkit/storage.h"
#include "qcowkit/throttle.h"

namespace qcowkit {

/// Hands on to `child` what `group` lets pass. Reads, writes, zeroes and discards are limited,
/// flushes are not.
std::unique_ptr<Storage> make_throttle_storage(std::unique_ptr<Storage> child,
                                               std::shared_ptr<ThrottleGroup> group);

}  // namespace qcowkit
