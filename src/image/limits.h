// Bounds on what one open may lead to: names in images are anybody's.
#pragma once

#include <cstddef>

namespace qcowkit {

/// How many nodes may lie above each other, without backing files (`References::chain_depth_max`).
inline constexpr std::size_t kNodeDepthMax = 64;

/// How many nodes one open may make in all: several children with chains of their own multiply.
inline constexpr std::size_t kNodesMax = 8192;

}  // namespace qcowkit
