// What one request to an image costs: small reads and writes, and mapping.
#include <benchmark/benchmark.h>

#include <random>

#include "bench/images.h"

namespace qcowkit::bench {
namespace {

constexpr std::uint64_t kDiskBytes = 64 << 20;
constexpr std::uint64_t kRequestBytes = 4096;

/// A disk with every cluster allocated, made once for each medium.
Image& allocated_disk(Medium medium) {
  static const auto make = [](Medium m) {
    auto image = make_qcow2(kDiskBytes, m);
    const auto bytes = realistic_bytes(1 << 20, 1);
    for (std::uint64_t at = 0; at < kDiskBytes; at += bytes.size()) image->write(at, bytes);
    image->flush();
    return image;
  };
  static const auto in_memory = make(Medium::memory);
  static const auto in_file = make(Medium::file);
  return medium == Medium::memory ? *in_memory : *in_file;
}

std::uint64_t random_offset(std::mt19937_64& random) {
  return random() % (kDiskBytes / kRequestBytes) * kRequestBytes;
}

void count_bytes(benchmark::State& state, std::uint64_t bytes_each) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes_each));
}

void random_read_4k(benchmark::State& state, Medium medium) {
  Image& image = allocated_disk(medium);
  std::mt19937_64 random(static_cast<std::uint64_t>(state.thread_index()));
  std::vector<std::byte> buffer(kRequestBytes);
  for (auto _ : state) image.read(random_offset(random), buffer);
  count_bytes(state, kRequestBytes);
}
BENCHMARK_CAPTURE(random_read_4k, memory, Medium::memory)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(random_read_4k, file, Medium::file)->ThreadRange(1, 2)->UseRealTime();

void random_overwrite_4k(benchmark::State& state, Medium medium) {
  Image& image = allocated_disk(medium);
  std::mt19937_64 random(static_cast<std::uint64_t>(state.thread_index()));
  const auto bytes = realistic_bytes(kRequestBytes, 2);
  for (auto _ : state) image.write(random_offset(random), bytes);
  count_bytes(state, kRequestBytes);
}
BENCHMARK_CAPTURE(random_overwrite_4k, memory, Medium::memory)->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_CAPTURE(random_overwrite_4k, file, Medium::file)->ThreadRange(1, 2)->UseRealTime();

void sequential_read_1m(benchmark::State& state) {
  Image& image = allocated_disk(Medium::file);
  std::vector<std::byte> buffer(1 << 20);
  std::uint64_t at = 0;
  for (auto _ : state) {
    image.read(at, buffer);
    at = (at + buffer.size()) % kDiskBytes;
  }
  count_bytes(state, buffer.size());
}
BENCHMARK(sequential_read_1m);

/// 4 KiB writes that allocate a cluster each, into a disk that is made anew when it is full.
void allocating_write_4k(benchmark::State& state) {
  constexpr std::uint64_t kClusterBytes = 65536;
  const auto bytes = realistic_bytes(kRequestBytes, 3);
  std::unique_ptr<Image> image;
  std::uint64_t at = kDiskBytes;
  for (auto _ : state) {
    if (at >= kDiskBytes) {
      state.PauseTiming();
      image = make_qcow2(kDiskBytes, Medium::file);
      at = 0;
      state.ResumeTiming();
    }
    image->write(at, bytes);
    at += kClusterBytes;
  }
}
BENCHMARK(allocating_write_4k);

/// Every other cluster allocated: as many extents as there are clusters.
void map_fragmented(benchmark::State& state) {
  constexpr std::uint64_t kClusterBytes = 4096;
  static const auto image = [] {
    auto fragmented = make_qcow2(kDiskBytes, Medium::memory, kClusterBytes);
    const auto bytes = realistic_bytes(kClusterBytes, 4);
    for (std::uint64_t at = 0; at < kDiskBytes; at += 2 * kClusterBytes) {
      fragmented->write(at, bytes);
    }
    return fragmented;
  }();
  std::int64_t extents = 0;
  std::uint64_t at = 0;
  for (auto _ : state) {
    const Extent extent = image->map(at, kDiskBytes - at);
    at = (at + extent.length_bytes) % kDiskBytes;
    ++extents;
  }
  state.SetItemsProcessed(extents);
}
BENCHMARK(map_fragmented);

}  // namespace
}  // namespace qcowkit::bench
