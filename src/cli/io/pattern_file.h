// Files whose content is written over and over again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace qcowkit::cli::io {

/// As many bytes as are wanted: the file's, repeated. Throws `BareError`.
std::vector<std::byte> repeat_file(const std::string& path, std::uint64_t length_bytes);

}  // namespace qcowkit::cli::io
