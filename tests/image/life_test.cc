// Random lives of images: what guests do, mixed with snapshots, VM states, changes of size and
// options, and openings of all kinds, against a model of the disk and of each snapshot.
//
// QCOWKIT_SEEDS=n runs n seeds for each kind; QCOWKIT_SEED=s replays one. A life that fails is
// shortened before it is printed.
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <random>

#include "tests/image/life_disk.h"
#include "tests/support/command.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kSeedsDefault = kIsSanitized ? 2 : 6;
/// One seed in this many is shown to the reference, which costs several processes.
constexpr std::uint64_t kReferenceEvery = 5;
constexpr std::size_t kShorteningRunsMax = 300;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

/// A kind of image: what is fixed; the rest is drawn for each seed.
struct LifeCase {
  const char* name;
  std::uint64_t cluster_size_bytes;
  std::uint64_t size_bytes;
  std::size_t steps;
  void (*fix)(LifeConfig& config) = nullptr;
};
void PrintTo(const LifeCase& kind, std::ostream* out) { *out << kind.name; }

void fix_version_2(LifeConfig& config) {
  config.create.version = 2;
  config.create.refcount_bits = 16;
  config.create.lazy_refcounts = false;
  config.create.compression = CompressionType::deflate;
}
/// One that may change its version in both directions.
void fix_versatile(LifeConfig& config) {
  config.create.refcount_bits = 16;
  config.create.compression = CompressionType::deflate;
}
void fix_extended(LifeConfig& config) { config.create.extended_l2 = true; }
void fix_lazy(LifeConfig& config) { config.create.lazy_refcounts = true; }
void fix_data_file(LifeConfig& config) {
  config.data_file = true;
  config.backing_size_bytes = 0;
}
void fix_data_file_raw(LifeConfig& config) {
  fix_data_file(config);
  config.create.data_file_raw = true;
}
void fix_wide_refcounts(LifeConfig& config) { config.create.refcount_bits = 64; }
void fix_narrow_refcounts(LifeConfig& config) { config.create.refcount_bits = 2; }
void fix_backing(LifeConfig& config) {
  if (config.backing_size_bytes == 0) config.backing_size_bytes = *config.create.size_bytes;
}
void fix_versatile_backing(LifeConfig& config) {
  fix_versatile(config);
  fix_backing(config);
}
void fix_version_2_backing(LifeConfig& config) {
  fix_version_2(config);
  fix_backing(config);
}
void fix_extended_backing(LifeConfig& config) {
  fix_extended(config);
  fix_backing(config);
}
void fix_luks(LifeConfig& config) { config.create.encryption = EncryptionFormat::luks; }
void fix_aes(LifeConfig& config) {
  fix_versatile_backing(config);
  config.create.encryption = EncryptionFormat::aes;
}

constexpr LifeCase kCases[] = {
    {"Clusters512", 512, 80 * kKiB, 120},
    {"Clusters512Versatile", 512, 80 * kKiB, 120, fix_versatile},
    {"Clusters512VersatileBacking", 512, 80 * kKiB, 120, fix_versatile_backing},
    {"Clusters512Version2Backing", 512, 80 * kKiB, 100, fix_version_2_backing},
    {"Clusters512RefcountBits64", 512, 300 * kKiB, 100, fix_wide_refcounts},
    {"Clusters512RefcountBits2", 512, 80 * kKiB, 120, fix_narrow_refcounts},
    {"Clusters4K", 4 * kKiB, 600 * kKiB, 100},
    {"Clusters4KVersatileBacking", 4 * kKiB, 600 * kKiB, 100, fix_versatile_backing},
    {"Clusters4KVersion2", 4 * kKiB, 600 * kKiB, 100, fix_version_2},
    {"Clusters4KLazy", 4 * kKiB, 600 * kKiB, 100, fix_lazy},
    {"Clusters4KDataFile", 4 * kKiB, 600 * kKiB, 80, fix_data_file},
    {"Clusters4KDataFileRaw", 4 * kKiB, 600 * kKiB, 80, fix_data_file_raw},
    {"Clusters4KLuks", 4 * kKiB, 300 * kKiB, 60, fix_luks},
    {"Clusters4KAes", 4 * kKiB, 300 * kKiB, 80, fix_aes},
    {"Clusters16KExtended", 16 * kKiB, 1 * kMiB, 80, fix_extended},
    {"Clusters16KExtendedBacking", 16 * kKiB, 1 * kMiB, 80, fix_extended_backing},
    {"Clusters64K", 64 * kKiB, 2 * kMiB, 60},
    {"Clusters64KBacking", 64 * kKiB, 2 * kMiB, 60, fix_versatile_backing},
    {"Clusters2M", 2 * kMiB, 7 * kMiB, 16},
};

template <typename T, std::size_t n>
T pick(std::mt19937_64& random, const T (&choices)[n]) {
  return choices[random() % n];
}

LifeConfig draw_config(const LifeCase& kind, std::mt19937_64& random) {
  LifeConfig config;
  CreateOptions& create = config.create;
  create.format = "qcow2";
  create.cluster_size_bytes = kind.cluster_size_bytes;
  create.size_bytes = kind.size_bytes - pick(random, {0u, 512u, 1024u, 3584u});
  create.refcount_bits = pick(random, {1u, 4u, 8u, 16u, 16u, 32u, 64u});
  create.lazy_refcounts = random() % 4 == 0;
  create.compression = pick(random, {CompressionType::deflate, CompressionType::zstd});
  // Shorter and longer than the disk, ending anywhere in a cluster.
  const std::uint64_t sectors = *create.size_bytes / 512;
  config.backing_size_bytes = random() % 2 * 512 * (1 + random() % (sectors * 3 / 2));
  config.backing_content = random() % 1000;
  config.l2_cache_bytes = pick(random, {std::uint64_t{0}, std::uint64_t{1}, 16 * kKiB});
  config.refcount_cache_bytes = pick(random, {std::uint64_t{0}, std::uint64_t{1}});
  config.overlap_checks =
      pick(random, {overlap::kNone, overlap::kConstant, overlap::kCached, overlap::kAll});
  if (kind.fix != nullptr) kind.fix(config);
  return config;
}

std::optional<std::string> live(const LifeConfig& config, const std::vector<LifeStep>& steps,
                                bool ask_reference) {
  const TempDir dir;
  try {
    LifeDisk disk(config, dir.path().string());
    for (const LifeStep& step : steps) {
      if (auto wrong = disk.apply(step)) return describe(step) + ": " + *wrong;
    }
    if (auto wrong = disk.finish()) return "at the end: " + *wrong;
    return ask_reference ? disk.ask_reference() : std::nullopt;
  } catch (const std::exception& error) {
    return std::string("making the disk: ") + error.what();
  }
}

/// Leaves out what the failure does not need: halves first, single steps last.
std::vector<LifeStep> shorten(const LifeConfig& config, std::vector<LifeStep> steps,
                              bool ask_reference) {
  std::size_t runs = 0;
  for (std::size_t part = steps.size() / 2; part >= 1; part /= 2) {
    for (std::size_t begin = 0; begin < steps.size() && runs < kShorteningRunsMax; ++runs) {
      std::vector<LifeStep> fewer = steps;
      const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::size_t count = std::min(part, steps.size() - begin);
      fewer.erase(first, first + static_cast<std::ptrdiff_t>(count));
      if (live(config, fewer, ask_reference)) {
        steps = std::move(fewer);
      } else {
        begin += part;
      }
    }
  }
  return steps;
}

class ImageLife : public testing::TestWithParam<LifeCase> {
 protected:
  static void run_seed(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const LifeConfig config = draw_config(GetParam(), random);
    const std::vector<LifeStep> steps = draw_life(random, GetParam().steps);
    const bool ask_reference = seed % kReferenceEvery == 0 && have_command("qemu-img");
    const auto wrong = live(config, steps, ask_reference);
    if (!wrong) return;
    const std::vector<LifeStep> fewer = shorten(config, steps, ask_reference);
    FAIL() << "QCOWKIT_SEED=" << seed << ": " << *wrong << "\n"
           << describe(config) << "\nshortened to\n"
           << describe(fewer)
           << live(config, fewer, ask_reference).value_or("(does not fail again)");
  }
};

TEST_P(ImageLife, DiskAndSnapshotsHoldWhatTheModelDoes) {
  for_each_seed(kSeedsDefault, run_seed, [] { return HasFatalFailure(); });
}

INSTANTIATE_TEST_SUITE_P(Cases, ImageLife, testing::ValuesIn(kCases),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace qcowkit::test
