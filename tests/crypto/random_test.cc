// Random bytes.
#include "crypto/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace qcowkit::crypto {
namespace {

TEST(Random, EveryByteOfALongBufferIsFilled) {
  // More than the kernel gives out at once without being asked again.
  std::vector<std::byte> bytes(1 << 20);
  fill_random(bytes);
  for (std::size_t at = 0; at < bytes.size(); at += 64) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    EXPECT_FALSE(std::all_of(begin, begin + 64, [](std::byte b) { return b == std::byte{0}; }));
  }
}

TEST(Random, TwoFillsDiffer) {
  std::vector<std::byte> first(32), second(32);
  fill_random(first);
  fill_random(second);
  EXPECT_NE(first, second);
  fill_random({});
}

}  // namespace
}  // namespace qcowkit::crypto
