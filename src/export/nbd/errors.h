// What clients are told of a failure.
#pragma once

#include <system_error>

#include "base/nbd_wire.h"

namespace qcowkit::nbd {

/// The protocol's error for one of ours or of the operating system. Never `none`.
WireError wire_error(const std::error_code& code) noexcept;

/// A few words for people. Says nothing of the server's files.
const char* describe(WireError error) noexcept;

}  // namespace qcowkit::nbd
