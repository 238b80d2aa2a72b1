// Compressing and decompressing one cluster. No I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "qcowkit/image.h"

namespace qcowkit::codec {

/// Turns clusters into compressed clusters. One instance is used by one thread at a time; it keeps
/// its working memory between calls.
class Compressor {
 public:
  virtual ~Compressor() = default;

  /// Compresses `cluster` whole into `into` and returns the number of bytes written; 0 where the
  /// result would not fit (the cluster is then better stored plain).
  virtual std::size_t compress(std::span<const std::byte> cluster,
                               std::span<std::byte> into) noexcept = 0;
};

/// `level` 0 means the default of the type: for deflate a fast level whose output is about 8 %
/// larger than zlib's default, for zstd level 3 as the reference. Deflate takes 1..9 (1..3 are
/// ISA-L's levels, 4..9 zlib's), zstd 1..22. The deflate window is 4 KiB (12 bits), as readers of
/// the format require. Throws `Error` (invalid_argument) for another level.
std::unique_ptr<Compressor> make_compressor(CompressionType type, int level = 0);

/// Fills `cluster` from the compressed bytes `from`, which may have anything behind the end of the
/// stream. False where the stream is damaged or ends early; `cluster` is then indeterminate.
/// Thread-safe; keeps its working memory per thread.
bool decompress(CompressionType type, std::span<const std::byte> from,
                std::span<std::byte> cluster) noexcept;

}  // namespace qcowkit::codec
