// Power failures at any moment, with any legal part of the unflushed writes lost: what was flushed
// is there, nothing that never was appears, and check finds leaks at most.
//
// QCOWKIT_SEEDS=n runs n rounds for each kind of image; QCOWKIT_SEED=s replays one.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash/crash_round.h"
#include "tests/crash/internal_snapshot.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::test {
namespace {

class CrashSweep : public testing::TestWithParam<CrashCase> {};

TEST_P(CrashSweep, LeavesLeaksAtMostAndEveryByteThatWasFlushed) {
  if (GetParam().has_snapshot && !can_take_snapshots()) GTEST_SKIP() << "no qemu-img";
  const CrashStart start(GetParam());
  for_each_seed(
      GetParam().rounds,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed) + " replays this round alone");
        CrashRound(GetParam(), start, seed).run();
      },
      [] { return HasFailure(); });
}

std::vector<CrashCase> cases() {
  constexpr std::uint64_t kSmallDisk = 200 * 512 + 100;
  std::vector<CrashCase> all;
  const auto add = [&](
                       Shape shape, void (*change)(Shape&) = [](Shape&) {}) -> CrashCase& {
    change(shape);
    all.push_back({std::move(shape)});
    return all.back();
  };
  // The smallest caches that there are: write-backs in the middle of everything.
  const auto tiny_caches = [](Shape& shape) {
    shape.name += "TinyCaches";
    shape.metadata.l2_cache_bytes = 512;
    shape.metadata.refcount_cache_bytes = 512;
  };
  add(plain_shape("Clusters512", kSmallDisk, 512));
  add(plain_shape("Clusters512", kSmallDisk, 512), tiny_caches);
  add(with_backing(plain_shape("Clusters512", kSmallDisk, 512)));
  add(plain_shape("Clusters512Refcounts64", 2 * kSmallDisk, 512), [](Shape& shape) {
    shape.options.refcount_bits = 64;
    shape.metadata.l2_cache_bytes = 512;
    shape.metadata.refcount_cache_bytes = 512;
  });
  add(plain_shape("Clusters512Refcounts1", kSmallDisk, 512),
      [](Shape& shape) { shape.options.refcount_bits = 1; });
  add(plain_shape("Clusters4096", 400 * 1024 + 512, 4096));
  add(with_backing(plain_shape("Clusters4096Version2", 400 * 1024, 4096)),
      [](Shape& shape) { shape.options.version = 2; });
  add(plain_shape("Clusters4096Version2", 400 * 1024, 4096),
      [](Shape& shape) { shape.options.version = 2; });
  add(plain_shape("Clusters4096Lazy", 400 * 1024, 4096),
      [](Shape& shape) { shape.options.lazy_refcounts = true; });
  add(with_backing(plain_shape("Clusters512LazyTinyCaches", kSmallDisk, 512)), [](Shape& shape) {
    shape.options.lazy_refcounts = true;
    shape.metadata.l2_cache_bytes = 512;
    shape.metadata.refcount_cache_bytes = 512;
  });
  add(plain_shape("Clusters65536", 1280 * 1024 + 512, 65536));
  add(with_backing(plain_shape("Clusters65536", 1280 * 1024, 65536)));
  add(plain_shape("ExtendedL2", 600 * 1024 + 512, 16384),
      [](Shape& shape) { shape.options.extended_l2 = true; });
  add(with_backing(plain_shape("ExtendedL2", 600 * 1024, 16384)),
      [](Shape& shape) { shape.options.extended_l2 = true; });
  add(plain_shape("DataFile", 400 * 1024, 4096),
      [](Shape& shape) { shape.options.data_file = "data"; });
  add(with_backing(plain_shape("DataFile", 400 * 1024, 4096)),
      [](Shape& shape) { shape.options.data_file = "data"; });
  add(plain_shape("DataFileRaw", 400 * 1024, 4096), [](Shape& shape) {
    shape.options.data_file = "data";
    shape.options.data_file_raw = true;
  });
  add(plain_shape("DataFileExtendedL2Lazy", 600 * 1024, 16384), [](Shape& shape) {
    shape.options.data_file = "data";
    shape.options.extended_l2 = true;
    shape.options.lazy_refcounts = true;
  });
  // One cluster of refcount table describes 2 MiB.
  CrashCase& growing = add(plain_shape("GrowingRefcountTable", 3 << 20, 512),
                           [](Shape& shape) { shape.options.refcount_bits = 64; });
  growing.host_bytes_before = (2 << 20) - 24 * 1024;
  CrashCase& growing_lazy = add(growing.shape, [](Shape& shape) {
    shape.name += "Lazy";
    shape.options.lazy_refcounts = true;
  });
  growing_lazy.host_bytes_before = (2 << 20) - 24 * 1024;
  // Two slices a table; freed clusters keep their bytes; a refcount block describes 8 MiB.
  CrashCase& large = add(plain_shape("Clusters8192", 20 << 20, 8192), [](Shape& shape) {
    shape.options.refcount_bits = 64;
    shape.metadata.discard_pass_through = {false, false, false};
  });
  large.host_bytes_before = (8 << 20) - 128 * 1024;
  large.rounds = kIsSanitized ? 1 : 2;
  large.moments = kIsSanitized ? 2 : 10;
  add(plain_shape("Clusters512Snapshot", kSmallDisk, 512)).has_snapshot = true;
  add(plain_shape("Clusters4096Snapshot", 400 * 1024, 4096), tiny_caches).has_snapshot = true;
  add(plain_shape("ExtendedL2Snapshot", 600 * 1024, 16384), [](Shape& shape) {
    shape.options.extended_l2 = true;
  }).has_snapshot = true;
  return all;
}

INSTANTIATE_TEST_SUITE_P(Cases, CrashSweep, testing::ValuesIn(cases()),
                         [](const auto& which) { return which.param.shape.name; });

}  // namespace
}  // namespace qcowkit::test
