// Zstandard frames, as compressed clusters of type "zstd" hold them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "codec/compression.h"

namespace qcowkit::codec {

/// `level` is 1..22, or 0 for the default; see `make_compressor`.
std::unique_ptr<Compressor> make_zstd_compressor(int level);

/// See `decompress`.
bool unzstd_cluster(std::span<const std::byte> from, std::span<std::byte> cluster) noexcept;

}  // namespace qcowkit::codec
