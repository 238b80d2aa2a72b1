// Zeroes to write from.
#include "base/zeroes.h"

namespace qcowkit {

namespace {

// Never written to; but if it were const, a mebibyte of zeroes would be in the program's file.
alignas(4096) std::byte g_zeroes[kZeroBytes];

}  // namespace

std::span<const std::byte, kZeroBytes> zeroes() noexcept { return g_zeroes; }

}  // namespace qcowkit
