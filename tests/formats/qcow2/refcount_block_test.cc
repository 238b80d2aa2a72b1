// Refcounts of every width, packed.
#include "formats/qcow2/refcount_block.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "formats/qcow2/geometry.h"

namespace qcowkit::qcow2 {
namespace {

class RefcountBlock : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  Geometry geometry_{9, GetParam(), false};
  std::vector<std::byte> block_ = std::vector<std::byte>(512);
};

TEST_P(RefcountBlock, EntriesAreKeptAndLeaveTheirNeighboursAlone) {
  std::mt19937_64 random(GetParam());
  std::vector<std::uint64_t> model(geometry_.refcount_block_entries());
  for (int round = 0; round < 5000; ++round) {
    const std::uint64_t index = random() % model.size();
    model[index] = random() & geometry_.refcount_max();
    store_refcount(block_.data(), index, GetParam(), model[index]);
  }
  for (std::uint64_t i = 0; i < model.size(); ++i) {
    ASSERT_EQ(load_refcount(block_.data(), i, GetParam()), model[i]) << i;
  }
}

TEST_P(RefcountBlock, FirstAndLastEntryTakeTheLargestValue) {
  for (const std::uint64_t index : {std::uint64_t{0}, geometry_.refcount_block_entries() - 1}) {
    store_refcount(block_.data(), index, GetParam(), geometry_.refcount_max());
    EXPECT_EQ(load_refcount(block_.data(), index, GetParam()), geometry_.refcount_max());
    store_refcount(block_.data(), index, GetParam(), 0);
  }
  EXPECT_EQ(block_, std::vector<std::byte>(512));
}

INSTANTIATE_TEST_SUITE_P(Orders, RefcountBlock, ::testing::Range(0u, 7u));

TEST(RefcountBlockBytes, SubByteEntriesStartInTheLeastSignificantBits) {
  std::byte block[2]{};
  store_refcount(block, 0, 0, 1);
  store_refcount(block, 9, 0, 1);
  EXPECT_EQ(block[0], std::byte{0x01});
  EXPECT_EQ(block[1], std::byte{0x02});
  store_refcount(block, 1, 2, 0xa);
  EXPECT_EQ(block[0], std::byte{0xa1});
  store_refcount(block, 1, 1, 3);  // bits 2 and 3
  EXPECT_EQ(block[0], std::byte{0xad});
}

TEST(RefcountBlockBytes, WholeBytesAreBigEndian) {
  std::byte block[16]{};
  store_refcount(block, 1, 4, 0x0102);
  EXPECT_EQ(block[2], std::byte{1});
  EXPECT_EQ(block[3], std::byte{2});
  store_refcount(block, 1, 6, 0x0807060504030201);
  EXPECT_EQ(block[8], std::byte{8});
  EXPECT_EQ(block[15], std::byte{1});
}

}  // namespace
}  // namespace qcowkit::qcow2
