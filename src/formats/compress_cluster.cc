#include "formats/compress_cluster.h"

#include <memory>
#include <vector>

#include "codec/compression.h"

namespace qcowkit {

CompressedCluster compress_cluster(CompressionType type, int level,
                                   std::span<const std::byte> cluster,
                                   std::uint64_t cluster_size_bytes) {
  // A compressor's working memory is large: each thread keeps one, for the last type and level
  // asked for.
  struct Kept {
    CompressionType type;
    int level;
    std::unique_ptr<codec::Compressor> compressor;
  };
  thread_local Kept kept;
  if (!kept.compressor || kept.type != type || kept.level != level) {
    kept = {type, level, codec::make_compressor(type, level)};
  }

  thread_local std::vector<std::byte> into;
  into.resize(cluster_size_bytes - 1);
  thread_local std::vector<std::byte> padded;
  if (cluster.size() < cluster_size_bytes) {
    padded.assign(cluster.begin(), cluster.end());
    padded.resize(cluster_size_bytes);
    cluster = padded;
  }
  const std::size_t size = kept.compressor->compress(cluster, into);
  return {{into.begin(), into.begin() + static_cast<std::ptrdiff_t>(size)}};
}

}  // namespace qcowkit
