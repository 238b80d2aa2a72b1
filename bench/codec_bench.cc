// How fast clusters are compressed and decompressed, and how small they get.
//
//   codec_bench                                on made-up text
//   QCOWKIT_BENCH_FILE=disk.raw codec_bench    on the first 8 MiB of a file
//
// All in clusters of 64 KiB. `ratio` is compressed size by plain size, over all of them; clusters
// that do not get smaller count as they are.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "codec/compression.h"

namespace qcowkit::codec {
namespace {

constexpr std::size_t kClusterSize = 65536;
constexpr std::size_t kFileBytesMax = 8 << 20;

using Bytes = std::vector<std::byte>;

Bytes made_up_text() {
  std::minstd_rand random(1);
  std::string text;
  while (text.size() < 16 * kClusterSize) {
    text += fmt::format("{:08x} {} line of a log, {}\n", random(), random() % 100, random() % 7);
  }
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Bytes first_of_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  Bytes bytes(kFileBytesMax);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return bytes;
}

/// The clusters that all benchmarks work on, at least one.
const std::vector<std::span<const std::byte>>& clusters() {
  static const Bytes bytes = [] {
    const char* path = std::getenv("QCOWKIT_BENCH_FILE");
    Bytes read = path != nullptr ? first_of_file(path) : Bytes();
    return read.size() >= kClusterSize ? std::move(read) : made_up_text();
  }();
  static const auto all = [] {
    std::vector<std::span<const std::byte>> parts;
    for (std::size_t at = 0; at + kClusterSize <= bytes.size(); at += kClusterSize) {
      parts.push_back(std::span(bytes).subspan(at, kClusterSize));
    }
    return parts;
  }();
  return all;
}

double ratio_of(Compressor& compressor) {
  Bytes into(kClusterSize - 1);
  std::size_t compressed = 0;
  for (const auto cluster : clusters()) {
    const std::size_t length = compressor.compress(cluster, into);
    compressed += length == 0 ? kClusterSize : length;
  }
  return static_cast<double>(compressed) / static_cast<double>(clusters().size() * kClusterSize);
}

void compress_clusters(benchmark::State& state, CompressionType type) {
  const auto compressor = make_compressor(type, static_cast<int>(state.range(0)));
  state.counters["ratio"] = ratio_of(*compressor);
  Bytes into(kClusterSize - 1);
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(compressor->compress(clusters()[next], into));
    next = (next + 1) % clusters().size();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kClusterSize));
}

void decompress_clusters(benchmark::State& state, CompressionType type) {
  std::vector<Bytes> streams;
  const auto compressor = make_compressor(type);
  for (const auto cluster : clusters()) {
    Bytes into(kClusterSize - 1);
    into.resize(compressor->compress(cluster, into));
    if (!into.empty()) streams.push_back(std::move(into));
  }
  if (streams.empty()) return state.SkipWithError("nothing in the file can be compressed");

  Bytes cluster(kClusterSize);
  std::size_t next = 0;
  for (auto _ : state) {
    if (!decompress(type, streams[next], cluster)) state.SkipWithError("damaged stream");
    next = (next + 1) % streams.size();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kClusterSize));
}

BENCHMARK_CAPTURE(compress_clusters, deflate, CompressionType::deflate)
    ->ArgName("level")
    ->DenseRange(1, 9);
BENCHMARK_CAPTURE(compress_clusters, zstd, CompressionType::zstd)
    ->ArgName("level")
    ->Arg(1)
    ->Arg(3)
    ->Arg(9);
BENCHMARK_CAPTURE(decompress_clusters, deflate, CompressionType::deflate);
BENCHMARK_CAPTURE(decompress_clusters, zstd, CompressionType::zstd);

}  // namespace
}  // namespace qcowkit::codec
