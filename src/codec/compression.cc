// Compressing and decompressing one cluster: chooses the compression type's implementation.
#include "codec/compression.h"

#include <fmt/core.h>

#include "codec/deflate.h"
#include "codec/zstd.h"
#include "qcowkit/error.h"

namespace qcowkit::codec {

namespace {

constexpr int kDeflateLevelMax = 9;
constexpr int kZstdLevelMax = 22;

void check_level(const char* type, int level, int level_max) {
  if (level >= 0 && level <= level_max) return;
  throw Error(Errc::invalid_argument,
              fmt::format("compression level {}: {} has levels 1 to {}", level, type, level_max));
}

}  // namespace

std::unique_ptr<Compressor> make_compressor(CompressionType type, int level) {
  if (type == CompressionType::zstd) {
    check_level("zstd", level, kZstdLevelMax);
    return make_zstd_compressor(level);
  }
  check_level("zlib", level, kDeflateLevelMax);
  return make_deflate_compressor(level);
}

bool decompress(CompressionType type, std::span<const std::byte> from,
                std::span<std::byte> cluster) noexcept {
  return type == CompressionType::zstd ? unzstd_cluster(from, cluster)
                                       : inflate_cluster(from, cluster);
}

}  // namespace qcowkit::codec
