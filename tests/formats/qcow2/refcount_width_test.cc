// Refcounts written anew with another width, and runs of clusters among many refcount blocks.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "formats/qcow2/metadata.h"
#include "tests/formats/qcow2/engine_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint32_t kWidths[] = {1, 2, 4, 8, 16, 32, 64};

/// The metadata of a new image.
struct Engine {
  explicit Engine(const test::EngineOptions& options)
      : image(test::make_engine_image(options)),
        metadata(*image, nullptr, Qcow2Layer::read_header(*image), {}) {}

  std::uint64_t cluster_size() const { return metadata.geometry().cluster_size(); }
  std::uint64_t refcount_of(HostOffset host_offset) {
    return metadata.refcounts().refcount_of(host_offset);
  }
  void add_reference(HostOffset host_offset) {
    const HostRange range{host_offset, cluster_size()};
    metadata.refcounts().add_references(std::span(&range, 1));
  }

  std::shared_ptr<MemoryStorage> image;
  Metadata metadata;
};

class RefcountWidth : public testing::TestWithParam<std::tuple<std::uint32_t, std::uint32_t>> {
 protected:
  std::uint32_t from() const { return std::get<0>(GetParam()); }
  std::uint32_t to() const { return std::get<1>(GetParam()); }
  static std::uint32_t order_of(std::uint32_t bits) {
    return static_cast<std::uint32_t>(std::countr_zero(bits));
  }
};

TEST_P(RefcountWidth, ChangeKeepsEveryRefcount) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = from()});
  // Many blocks of both widths, with what both can hold.
  const HostRun run = engine.metadata.allocate_contiguous(1500);
  const std::uint64_t largest = std::min({from(), to(), 3u}) == 1 ? 1 : 3;
  for (std::uint64_t i = 0; i < run.clusters; i += 7) {
    for (std::uint64_t n = 1; n < 1 + i % largest; ++n) {
      engine.add_reference(run.host_offset + i * 512);
    }
  }
  const auto counts = [&] {
    std::vector<std::uint64_t> all;
    for (std::uint64_t i = 0; i < run.clusters; ++i) {
      all.push_back(engine.refcount_of(run.host_offset + i * 512));
    }
    return all;
  };
  const std::vector<std::uint64_t> before = counts();
  engine.metadata.flush();
  engine.metadata.change_refcount_width(order_of(to()));
  EXPECT_TRUE(counts() == before) << "in memory";
  EXPECT_EQ(engine.metadata.geometry().refcount_bits(), to());
  engine.metadata.close();
  engine.metadata.reload(Qcow2Layer::read_header(*engine.image));
  EXPECT_TRUE(counts() == before) << "on the disk";
}

TEST_P(RefcountWidth, NewStructuresCountThemselvesAndOldOnesAreFreed) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = from()});
  const HostOffset old_table = engine.metadata.header().refcount_table_offset;
  engine.metadata.flush();
  engine.metadata.change_refcount_width(order_of(to()));
  engine.metadata.close();
  EXPECT_EQ(engine.refcount_of(old_table), 0u);
  EXPECT_EQ(engine.refcount_of(engine.metadata.header().refcount_table_offset), 1u);
  Qcow2Layer layer(std::make_unique<test::FaultStorage>(engine.image), nullptr,
                   Qcow2Layer::read_header(*engine.image), {});
  const CheckReport report = layer.check({});
  EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0u);
}

INSTANTIATE_TEST_SUITE_P(Pairs, RefcountWidth,
                         testing::Combine(testing::ValuesIn(kWidths), testing::ValuesIn(kWidths)),
                         [](const auto& pair) {
                           return "From" + std::to_string(std::get<0>(pair.param)) + "To" +
                                  std::to_string(std::get<1>(pair.param));
                         });

TEST(RefcountWidthLimit, TooLargeRefcountIsNamedAndNothingChanges) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 16});
  const HostOffset cluster = engine.metadata.allocate(1).host_offset;
  for (int i = 0; i < 3; ++i) engine.add_reference(cluster);
  engine.metadata.flush();
  const auto header = engine.metadata.header().encode();
  const Error error = test::error_of([&] { engine.metadata.change_refcount_width(1); });
  EXPECT_EQ(error.code(), Errc::limit_exceeded);
  EXPECT_TRUE(test::mentions(error, {"Cluster at offset", "refcount of 4", "2 bits"}));
  EXPECT_TRUE(engine.metadata.header().encode() == header);
  EXPECT_EQ(engine.refcount_of(cluster), 4u);
  engine.metadata.change_refcount_width(2);
  EXPECT_EQ(engine.refcount_of(cluster), 4u);
}

TEST(RefcountWidthLimit, LargestRefcountOfAWidthFits) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 64});
  const HostOffset cluster = engine.metadata.allocate(1).host_offset;
  for (int i = 0; i < 14; ++i) engine.add_reference(cluster);
  engine.metadata.flush();
  engine.metadata.change_refcount_width(2);
  EXPECT_EQ(engine.refcount_of(cluster), 15u);
  EXPECT_EQ(test::error_of([&] { engine.add_reference(cluster); }).code(), Errc::limit_exceeded);
  EXPECT_EQ(engine.refcount_of(cluster), 15u);
}

// --- Contiguous clusters -------------------------------------------------------------------------

/// Clusters of 512 bytes with refcounts of 64 bits: each block describes 64 clusters.
TEST(ContiguousAllocation, RunGoesOverManyRefcountBlocks) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 64});
  const HostRun run = engine.metadata.allocate_contiguous(1000);
  ASSERT_EQ(run.clusters, 1000u);
  for (std::uint64_t i = 0; i < run.clusters; ++i) {
    ASSERT_EQ(engine.refcount_of(run.host_offset + i * 512), 1u) << i;
  }
  EXPECT_EQ(engine.refcount_of(run.host_offset + 1000 * 512), 0u);
}

TEST(ContiguousAllocation, RefcountTableGrowsForIt) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 64});
  // A table of one cluster names 64 blocks, which describe 4096 clusters.
  const HostRun first = engine.metadata.allocate_contiguous(3000);
  const HostRun second = engine.metadata.allocate_contiguous(6000);
  EXPECT_EQ(first.clusters, 3000u);
  EXPECT_EQ(second.clusters, 6000u);
  EXPECT_GE(second.host_offset.value, first.host_offset.value + 3000 * 512);
  EXPECT_GT(engine.metadata.header().refcount_table_clusters, 1u);
}

TEST(ContiguousAllocation, HoleThatIsLargeEnoughIsUsed) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 64});
  const HostRun run = engine.metadata.allocate_contiguous(40);
  engine.metadata.release(run.host_offset + 512, 30 * 512);
  EXPECT_EQ(engine.metadata.allocate_contiguous(10).host_offset, run.host_offset + 512);
}

TEST(ContiguousAllocation, HoleThatIsTooSmallStaysFree) {
  Engine engine({.cluster_size = 512, .size = 1 << 20, .refcount_bits = 64});
  const HostRun run = engine.metadata.allocate_contiguous(40);
  engine.metadata.release(run.host_offset + 512, 5 * 512);
  EXPECT_GE(engine.metadata.allocate_contiguous(10).host_offset.value,
            run.host_offset.value + 40 * 512);
  EXPECT_EQ(engine.refcount_of(run.host_offset + 512), 0u);
}

}  // namespace
}  // namespace qcowkit::qcow2
