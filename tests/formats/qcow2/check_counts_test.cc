// Reference counts against a plain map, through every width.
#include "formats/qcow2/check_counts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "qcowkit/error.h"

namespace qcowkit::qcow2 {
namespace {

struct Expected {
  std::uint64_t count = 0;
  std::uint8_t claims = 0;
};

void expect_equal(const ReferenceCounts& counts, const std::map<std::uint64_t, Expected>& model) {
  for (std::uint64_t cluster = 0; cluster < counts.clusters(); ++cluster) {
    const auto known = model.find(cluster);
    const Expected expected = known == model.end() ? Expected{} : known->second;
    ASSERT_EQ(counts.count(cluster), expected.count) << "cluster " << cluster;
    ASSERT_EQ(counts.claims(cluster), expected.claims) << "cluster " << cluster;
    if (expected.count != 0) {
      ASSERT_TRUE(counts.may_have(cluster, 1));
    }
  }
}

class ReferenceCountsOfWidth : public testing::TestWithParam<std::uint64_t> {};

TEST_P(ReferenceCountsOfWidth, AgreeWithAPlainMap) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  constexpr std::uint64_t kClusters = 200;
  ReferenceCounts counts(kClusters, GetParam());
  std::map<std::uint64_t, Expected> model;
  for (int step = 0; step < 2000; ++step) {
    const std::uint64_t first = random() % kClusters;
    const std::uint64_t n = 1 + random() % (kClusters - first);
    if (random() % 8 == 0) {
      for (std::uint64_t c = first; c < first + n; ++c) {
        if (counts.count(c) == 0) continue;
        counts.remove(c, 1);
        --model[c].count;
      }
      continue;
    }
    const std::uint64_t weight = random() % 16 == 0 ? random() : 1 + random() % 3;
    const auto claims = static_cast<std::uint8_t>(random() % 4);
    counts.add(first, n, weight, claims);
    for (std::uint64_t c = first; c < first + n; ++c) {
      model[c].count += weight;
      model[c].claims |= claims;
    }
  }
  expect_equal(counts, model);
}

INSTANTIATE_TEST_SUITE_P(Widths, ReferenceCountsOfWidth,
                         testing::Values(1u, 62u, 63u, 10000u, 100000u));

TEST(ReferenceCounts, WidenWhenManyCountsAreLarge) {
  constexpr std::uint64_t kClusters = 20000;
  ReferenceCounts counts(kClusters, 1);
  ASSERT_NE(counts.narrow_cells(), nullptr);
  counts.add(0, kClusters, 7, claim::kCopied);
  counts.add(100, 10000, 60, claim::kShared);
  EXPECT_EQ(counts.narrow_cells(), nullptr);
  counts.add(200, 10000, 20000, claim::kNone);
  EXPECT_EQ(counts.count(99), 7u);
  EXPECT_EQ(counts.claims(99), claim::kCopied);
  EXPECT_EQ(counts.count(150), 67u);
  EXPECT_EQ(counts.claims(150), claim::kCopied | claim::kShared);
  EXPECT_EQ(counts.count(300), 20067u);
  EXPECT_EQ(counts.count(10150), 20007u);
}

TEST(ReferenceCounts, ReplaceClaimsAndKeepCounts) {
  ReferenceCounts counts(10, 1);
  counts.add(3, 2, 1000, claim::kCopied);
  counts.set_claims(3, claim::kShared);
  EXPECT_EQ(counts.claims(3), claim::kShared);
  EXPECT_EQ(counts.count(3), 1000u);
  EXPECT_EQ(counts.claims(4), claim::kCopied);
}

TEST(ReferenceCounts, TakeNoMemoryWhereNothingIsCounted) {
  // 16 GiB, were they all touched.
  ReferenceCounts counts(ReferenceCounts::kClustersMax, 1);
  counts.add(ReferenceCounts::kClustersMax - 1, 1, 1, claim::kNone);
  EXPECT_EQ(counts.count(ReferenceCounts::kClustersMax - 1), 1u);
  EXPECT_FALSE(counts.may_have(0, ReferenceCounts::kClustersMax / 2));
}

TEST(ReferenceCounts, RefuseFilesThatAreTooLarge) {
  EXPECT_THROW(ReferenceCounts(ReferenceCounts::kClustersMax + 1, 1), Error);
}

}  // namespace
}  // namespace qcowkit::qcow2
