// Random sequences of operations on every kind of image, against a byte array.
//
// QCOWKIT_SEEDS=n runs n seeds for each kind; QCOWKIT_SEED=s replays one. A sequence that fails is
// shrunk before it is printed.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <ostream>
#include <random>

#include "tests/image/modelled_disk.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::DiskConfig;
using test::Operation;

constexpr std::uint64_t kSeedsDefault = 16;
/// One seed in this many is shown to the reference, which costs two processes.
constexpr std::uint64_t kReferenceEvery = 8;
constexpr std::size_t kShrinkRunsMax = 300;

/// A kind of image: what is fixed; the rest is drawn for each seed.
struct DiskKind {
  const char* name;
  std::uint64_t cluster_size_bytes;
  std::uint64_t size_bytes;
  std::size_t operations;
  void (*fix)(DiskConfig& config) = nullptr;
};
std::ostream& operator<<(std::ostream& out, const DiskKind& kind) { return out << kind.name; }

void fix_version_2(DiskConfig& config) {
  config.create.version = 2;
  config.create.refcount_bits = 16;
  config.create.lazy_refcounts = false;
  config.create.compression = CompressionType::deflate;
}
void fix_extended(DiskConfig& config) { config.create.extended_l2 = true; }
void fix_lazy(DiskConfig& config) { config.create.lazy_refcounts = true; }
void fix_data_file(DiskConfig& config) {
  config.data_file = true;
  config.backing = DiskConfig::Backing::none;
}
void fix_data_file_raw(DiskConfig& config) {
  fix_data_file(config);
  config.create.data_file_raw = true;
}
void fix_data_file_extended(DiskConfig& config) {
  fix_data_file(config);
  config.create.extended_l2 = true;
}
/// A refcount table that has to grow.
void fix_wide_refcounts(DiskConfig& config) { config.create.refcount_bits = 64; }
void fix_narrow_refcounts(DiskConfig& config) { config.create.refcount_bits = 1; }
void fix_metadata_preallocated(DiskConfig& config) {
  config.create.preallocation = Preallocation::metadata;
  config.backing = DiskConfig::Backing::none;
}
void with_backing(DiskConfig& config, DiskConfig::Backing backing) { config.backing = backing; }
void fix_backing_raw(DiskConfig& config) { with_backing(config, DiskConfig::Backing::raw); }
void fix_backing_qcow2(DiskConfig& config) { with_backing(config, DiskConfig::Backing::qcow2); }
void fix_backing_compressed(DiskConfig& config) {
  with_backing(config, DiskConfig::Backing::qcow2_compressed);
}
void fix_version_2_backing(DiskConfig& config) {
  fix_version_2(config);
  fix_backing_qcow2(config);
}
void fix_extended_backing(DiskConfig& config) {
  fix_extended(config);
  fix_backing_qcow2(config);
}

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr DiskKind kKinds[] = {
    {"Clusters512", 512, 160 * kKiB, 120},
    {"Clusters512RefcountTableGrows", 512, 5 * kMiB / 2, 250, fix_wide_refcounts},
    {"Clusters512Version2", 512, 100 * kKiB, 120, fix_version_2},
    {"Clusters512RefcountBits1", 512, 100 * kKiB, 120, fix_narrow_refcounts},
    {"Clusters512Preallocated", 512, 100 * kKiB, 120, fix_metadata_preallocated},
    {"Clusters512BackingCompressed", 512, 100 * kKiB, 100, fix_backing_compressed},
    {"Clusters4K", 4 * kKiB, 5 * kMiB / 2, 80},
    {"Clusters4KVersion2Backing", 4 * kKiB, kMiB, 80, fix_version_2_backing},
    {"Clusters4KLazy", 4 * kKiB, kMiB, 80, fix_lazy},
    {"Clusters4KDataFile", 4 * kKiB, kMiB, 80, fix_data_file},
    {"Clusters4KDataFileRaw", 4 * kKiB, kMiB, 80, fix_data_file_raw},
    {"Clusters16KExtended", 16 * kKiB, 2 * kMiB, 80, fix_extended},
    {"Clusters16KExtendedBacking", 16 * kKiB, 2 * kMiB, 80, fix_extended_backing},
    {"Clusters16KExtendedDataFile", 16 * kKiB, 2 * kMiB, 80, fix_data_file_extended},
    {"Clusters64K", 64 * kKiB, 3 * kMiB, 60},
    {"Clusters64KBackingRaw", 64 * kKiB, 3 * kMiB, 60, fix_backing_raw},
    {"Clusters64KExtended", 64 * kKiB, 3 * kMiB, 60, fix_extended},
    {"Clusters2M", 2 * kMiB, 9 * kMiB, 12},
    {"Clusters2MExtended", 2 * kMiB, 9 * kMiB, 12, fix_extended},
};

template <typename T, std::size_t n>
T pick(std::mt19937_64& random, const T (&choices)[n]) {
  return choices[random() % n];
}

DiskConfig draw_config(const DiskKind& kind, std::mt19937_64& random) {
  DiskConfig config;
  CreateOptions& create = config.create;
  create.format = "qcow2";
  create.cluster_size_bytes = kind.cluster_size_bytes;
  create.size_bytes = kind.size_bytes - pick(random, {0u, 512u, 1024u, 3584u});
  create.refcount_bits = pick(random, {1u, 2u, 4u, 8u, 16u, 16u, 32u, 64u});
  create.lazy_refcounts = random() % 4 == 0;
  create.compression = random() % 2 == 0 ? CompressionType::deflate : CompressionType::zstd;
  config.backing =
      pick(random, {DiskConfig::Backing::none, DiskConfig::Backing::none, DiskConfig::Backing::raw,
                    DiskConfig::Backing::qcow2, DiskConfig::Backing::qcow2_compressed});
  config.backing_content = random() % 1000;
  // Shorter and longer than the overlay, ending anywhere in a cluster.
  config.backing_size_bytes = 512 * (1 + random() % (*create.size_bytes / 512 * 5 / 4));
  config.l2_cache_bytes = pick(random, {std::uint64_t{0}, std::uint64_t{1}, 16 * kKiB});
  config.refcount_cache_bytes = pick(random, {std::uint64_t{0}, std::uint64_t{1}});
  config.discard_pass_through = random() % 4 != 0;
  if (kind.fix != nullptr) kind.fix(config);
  return config;
}

std::optional<std::string> run_trial(const DiskConfig& config,
                                     const std::vector<Operation>& operations, bool ask_reference) {
  const test::TempDir dir;
  try {
    test::ModelledDisk disk(config, dir.path().string());
    for (const Operation& operation : operations) {
      if (auto wrong = disk.apply(operation)) return describe(operation) + ": " + *wrong;
    }
    if (auto wrong = disk.finish()) return "at the end: " + *wrong;
    return ask_reference ? disk.ask_reference() : std::nullopt;
  } catch (const std::exception& error) {
    return std::string("making the disk: ") + error.what();
  }
}

/// Leaves out what the failure does not need: halves first, single operations last.
std::vector<Operation> shrink(const DiskConfig& config, std::vector<Operation> operations,
                              bool ask_reference) {
  std::size_t runs = 0;
  for (std::size_t part = operations.size() / 2; part >= 1; part /= 2) {
    for (std::size_t begin = 0; begin < operations.size() && runs < kShrinkRunsMax; ++runs) {
      std::vector<Operation> fewer = operations;
      const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::size_t count = std::min(part, operations.size() - begin);
      fewer.erase(first, first + static_cast<std::ptrdiff_t>(count));
      if (run_trial(config, fewer, ask_reference)) {
        operations = std::move(fewer);
      } else {
        begin += part;
      }
    }
  }
  return operations;
}

class ImageProperty : public testing::TestWithParam<DiskKind> {
 protected:
  static void run_seed(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const DiskConfig config = draw_config(GetParam(), random);
    const std::vector<Operation> operations =
        draw_operations(random, operation_space(config), GetParam().operations);
    const bool ask_reference = seed % kReferenceEvery == 0;
    const auto wrong = run_trial(config, operations, ask_reference);
    if (!wrong) return;
    const std::vector<Operation> fewer = shrink(config, operations, ask_reference);
    FAIL() << "QCOWKIT_SEED=" << seed << ": " << *wrong << "\n"
           << describe(config) << "\nshrunk to\n"
           << describe(fewer)
           << run_trial(config, fewer, ask_reference).value_or("(does not fail again)");
  }
};

TEST_P(ImageProperty, RandomOperationsMatchAByteArray) {
  test::for_each_seed(kSeedsDefault, run_seed, [] { return HasFatalFailure(); });
}

INSTANTIATE_TEST_SUITE_P(Kinds, ImageProperty, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace qcowkit
