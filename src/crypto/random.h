// Random bytes that nobody can guess.
#pragma once

#include <cstddef>
#include <span>

namespace qcowkit::crypto {

/// From the kernel. Throws `Error` if it has none.
void fill_random(std::span<std::byte> into);

}  // namespace qcowkit::crypto
