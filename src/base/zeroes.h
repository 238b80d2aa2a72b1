// Zeroes to write from.
#pragma once

#include <cstddef>
#include <span>

namespace qcowkit {

inline constexpr std::size_t kZeroBytes = 1 << 20;

/// So many zeroes, aligned for direct I/O. They cost neither space in the program nor memory: the
/// system has one page of zeroes for all.
std::span<const std::byte, kZeroBytes> zeroes() noexcept;

}  // namespace qcowkit
