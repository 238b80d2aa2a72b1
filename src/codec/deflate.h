// Raw deflate streams, as compressed clusters of type "zlib" hold them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "codec/compression.h"

namespace qcowkit::codec {

/// `level` is 1..9, or 0 for the default; see `make_compressor`.
std::unique_ptr<Compressor> make_deflate_compressor(int level);

/// See `decompress`.
bool inflate_cluster(std::span<const std::byte> from, std::span<std::byte> cluster) noexcept;

}  // namespace qcowkit::codec
