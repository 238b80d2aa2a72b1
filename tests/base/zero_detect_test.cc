// Tests of is_zero.
#include "base/zero_detect.h"

#include <gtest/gtest.h>

#include <vector>

namespace qcowkit {
namespace {

TEST(IsZero, EmptyRangeIsZero) { EXPECT_TRUE(is_zero({})); }

TEST(IsZero, OneByteAnywhereIsFoundInBlocksOfAnyLength) {
  for (std::size_t length = 1; length <= 100; ++length) {
    std::vector<std::byte> bytes(length + 2);
    bytes.front() = bytes.back() = std::byte{1};  // outside
    const std::span<std::byte> block = std::span(bytes).subspan(1, length);
    EXPECT_TRUE(is_zero(block)) << length;
    for (std::size_t i = 0; i < length; ++i) {
      block[i] = std::byte{0x80};
      EXPECT_FALSE(is_zero(block)) << i << " of " << length;
      block[i] = std::byte{0};
    }
  }
}

TEST(IsZero, RepeatedPatternIsNotZero) {
  const std::vector<std::byte> bytes(4096, std::byte{0xaa});
  EXPECT_FALSE(is_zero(bytes));
}

}  // namespace
}  // namespace qcowkit
