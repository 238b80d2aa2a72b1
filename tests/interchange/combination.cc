#include "tests/interchange/combination.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <tuple>

namespace qcowkit::test {

namespace {

constexpr std::size_t kThings = 13;
/// How many values each thing has, in the order of `combination_of`.
constexpr std::array<unsigned, kThings> kValues = {2, 4, 3, 2, 3, 2, 2, 2, 3, 3, 2, 2, 2};
using Choice = std::array<unsigned, kThings>;

Combination combination_of(const Choice& choice) {
  constexpr std::array<std::uint64_t, 4> kClusterSizes = {512, 4096, 65536, 2u << 20};
  constexpr std::array<std::uint32_t, 3> kRefcountBits = {16, 1, 64};
  constexpr std::array kDataFiles = {"none", "plain", "raw"};
  constexpr std::array kEncryptions = {"none", "aes", "luks"};
  constexpr std::array kBackings = {"none", "raw", "qcow2"};
  Combination c;
  c.version = choice[0] == 0 ? 3 : 2;
  c.cluster_size_bytes = kClusterSizes[choice[1]];
  c.refcount_bits = kRefcountBits[choice[2]];
  c.extended_l2 = choice[3] != 0;
  c.data_file = kDataFiles[choice[4]];
  c.compression_type = choice[5] != 0 ? "zstd" : "zlib";
  c.lazy_refcounts = choice[6] != 0;
  c.preallocated = choice[7] != 0;
  c.encryption = kEncryptions[choice[8]];
  c.backing = kBackings[choice[9]];
  c.has_snapshot = choice[10] != 0;
  c.has_bitmap = choice[11] != 0;
  c.has_compressed_clusters = choice[12] != 0;
  return c;
}

/// Two things with their values.
using Pair = std::tuple<std::size_t, unsigned, std::size_t, unsigned>;

std::vector<Pair> pairs_of(const Choice& choice) {
  std::vector<Pair> pairs;
  for (std::size_t a = 0; a < kThings; ++a) {
    for (std::size_t b = a + 1; b < kThings; ++b) pairs.emplace_back(a, choice[a], b, choice[b]);
  }
  return pairs;
}

}  // namespace

bool Combination::is_possible() const {
  const bool has_data_file = data_file != "none";
  const bool is_encrypted = encryption != "none";
  if (version == 2 && (refcount_bits != 16 || extended_l2 || has_data_file || lazy_refcounts ||
                       compression_type != "zlib" || has_bitmap)) {
    return false;
  }
  if (extended_l2 && cluster_size_bytes < 16384) return false;
  if (has_snapshot && (has_data_file || refcount_bits == 1)) return false;
  if (has_compressed_clusters && (has_data_file || is_encrypted || preallocated)) return false;
  if (data_file == "raw" && (backing != "none" || is_encrypted)) return false;
  // What was never written decrypts to noise, which is not the same for two readers of a backing
  // file; and whole clusters would hide it.
  return !preallocated || (backing == "none" && !is_encrypted);
}

std::string Combination::create_options() const {
  std::string options = fmt::format("cluster_size={}", cluster_size_bytes);
  if (version == 2) {
    options += ",compat=0.10";
  } else {
    options +=
        fmt::format(",compat=1.1,refcount_bits={},extended_l2={},lazy_refcounts={}", refcount_bits,
                    extended_l2 ? "on" : "off", lazy_refcounts ? "on" : "off");
    options += ",compression_type=" + compression_type;
  }
  if (preallocated) options += ",preallocation=metadata";
  if (encryption != "none") {
    options += fmt::format(",encrypt.format={},encrypt.key-secret=s", encryption);
  }
  if (encryption == "luks") options += ",encrypt.iter-time=10";
  return options;
}

std::ostream& operator<<(std::ostream& out, const Combination& c) {
  return out << c.create_options() << " data_file=" << c.data_file << " backing=" << c.backing
             << (c.has_snapshot ? " snapshot" : "") << (c.has_bitmap ? " bitmap" : "")
             << (c.has_compressed_clusters ? " compressed" : "");
}

std::vector<Combination> covering_combinations() {
  constexpr std::size_t kCandidates = 200;
  constexpr int kRoundsWithoutGain = 20;
  std::mt19937 random(1);  // the same everywhere
  std::vector<Combination> combinations;
  std::set<Pair> covered;
  for (int idle = 0; idle < kRoundsWithoutGain;) {
    Choice best{};
    std::size_t best_gain = 0;
    for (std::size_t i = 0; i < kCandidates; ++i) {
      Choice choice;
      for (std::size_t thing = 0; thing < kThings; ++thing) {
        choice[thing] = static_cast<unsigned>(random() % kValues[thing]);
      }
      if (!combination_of(choice).is_possible()) continue;
      const std::vector<Pair> pairs = pairs_of(choice);
      const auto gain = static_cast<std::size_t>(
          std::ranges::count_if(pairs, [&](const Pair& pair) { return !covered.contains(pair); }));
      if (gain > best_gain) {
        best_gain = gain;
        best = choice;
      }
    }
    if (best_gain == 0) {
      ++idle;
      continue;
    }
    idle = 0;
    const std::vector<Pair> pairs = pairs_of(best);
    covered.insert(pairs.begin(), pairs.end());
    combinations.push_back(combination_of(best));
  }
  return combinations;
}

}  // namespace qcowkit::test
