// Looking for zeroes, and copying a whole image.
#include "base/zero_detect.h"

#include <benchmark/benchmark.h>

#include <vector>

#include "bench/images.h"
#include "qcowkit/jobs.h"

namespace qcowkit::bench {
namespace {

void is_zero_of_zeroes(benchmark::State& state) {
  const std::vector<std::byte> bytes(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(is_zero(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(is_zero_of_zeroes)->Arg(512)->Arg(4096)->Arg(65536)->Arg(1 << 20);

void is_zero_of_data(benchmark::State& state) {
  const auto bytes = realistic_bytes(65536, 1);
  for (auto _ : state) benchmark::DoNotOptimize(is_zero(bytes));
}
BENCHMARK(is_zero_of_data);

void copy_in_memory(benchmark::State& state) {
  constexpr std::uint64_t kDiskBytes = 32 << 20;
  const auto source = make_qcow2(kDiskBytes, Medium::memory);
  source->write(0, realistic_bytes(kDiskBytes, 1));
  CopyOptions options;
  options.target_is_zero = true;
  options.workers = static_cast<std::uint32_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    const auto target = make_qcow2(kDiskBytes, Medium::memory);
    state.ResumeTiming();
    copy({source.get()}, *target, options);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kDiskBytes));
}
BENCHMARK(copy_in_memory)->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace qcowkit::bench
