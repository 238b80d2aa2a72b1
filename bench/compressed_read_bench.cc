// Reading compressed clusters of an image.
#include <benchmark/benchmark.h>

#include "bench/images.h"

namespace qcowkit::bench {
namespace {

constexpr std::uint64_t kClusterBytes = 65536;
constexpr std::uint64_t kDiskBytes = 64 << 20;

std::unique_ptr<Image> compressed_disk(CompressionType type) {
  auto image = make_qcow2(kDiskBytes, Medium::file, kClusterBytes, type);
  for (std::uint64_t at = 0; at < kDiskBytes; at += kClusterBytes) {
    const auto cluster = realistic_bytes(kClusterBytes, at);
    image->write_compressed(at, image->compress(cluster), cluster);
  }
  return image;
}

/// More clusters than the cache of decompressed ones holds: each read decompresses.
void read_compressed_64k(benchmark::State& state, CompressionType type) {
  const auto image = compressed_disk(type);
  std::vector<std::byte> buffer(kClusterBytes);
  std::uint64_t at = 0;
  for (auto _ : state) {
    image->read(at, buffer);
    at = (at + kClusterBytes) % kDiskBytes;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kClusterBytes));
}
BENCHMARK_CAPTURE(read_compressed_64k, deflate, CompressionType::deflate);
BENCHMARK_CAPTURE(read_compressed_64k, zstd, CompressionType::zstd);

void sequential_read_compressed_4k(benchmark::State& state) {
  const auto image = compressed_disk(CompressionType::deflate);
  std::vector<std::byte> buffer(4096);
  std::uint64_t at = 0;
  for (auto _ : state) {
    image->read(at, buffer);
    at = (at + buffer.size()) % kDiskBytes;
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(buffer.size()));
}
BENCHMARK(sequential_read_compressed_4k);

}  // namespace
}  // namespace qcowkit::bench
