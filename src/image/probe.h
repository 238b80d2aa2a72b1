// Which format a file is of, by its first bytes.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace qcowkit {

/// How many of a file's first bytes `probe_format` looks at.
inline constexpr std::size_t kProbeBytes = 512;

/// "qcow", "qcow2", "luks" (version 1), the name of a format that is recognised but not supported
/// ("vmdk", ...), or "raw".
std::string probe_format(std::span<const std::byte> first_bytes);

}  // namespace qcowkit
