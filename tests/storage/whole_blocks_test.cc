// Requests of any range, made of whole blocks: what reaches the medium, and what it holds then.
#include "storage/whole_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kBlockBytes = 16;

/// Bytes in memory that can be moved in whole blocks only.
class Medium final : public BlockMedium {
 public:
  explicit Medium(std::size_t bytes) : bytes_(bytes) {
    for (std::size_t i = 0; i < bytes; ++i) bytes_[i] = static_cast<std::byte>(i * 7);
  }

  int read_blocks(std::uint64_t at, std::span<std::byte> into) override {
    require_whole(at, into.size());
    log_ += entry("r", at, into.size());
    if (error_ != 0) return error_;
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at), into.size(), into.begin());
    return 0;
  }
  int write_blocks(std::uint64_t at, std::span<std::byte> from, std::size_t padding) override {
    require_whole(at, from.size());
    EXPECT_LT(padding, kBlockBytes);
    log_ += entry("w", at, from.size());
    if (error_ != 0) return error_;
    std::ranges::copy(from, bytes_.begin() + static_cast<std::ptrdiff_t>(at));
    return 0;
  }
  void come_to(Event event, std::uint64_t, std::uint64_t) override {
    log_ += std::string(event_name(event)) + " ";
  }

  void fail_with(int error) { error_ = error; }
  std::vector<std::byte>& bytes() { return bytes_; }
  /// What was asked of it since the last call.
  std::string take_log() { return std::exchange(log_, {}); }

 private:
  static std::string entry(const char* what, std::uint64_t at, std::size_t length) {
    return what + std::to_string(at) + "+" + std::to_string(length) + " ";
  }
  static void require_whole(std::uint64_t at, std::size_t length) {
    EXPECT_EQ(at % kBlockBytes, 0u);
    EXPECT_EQ(length % kBlockBytes, 0u);
  }

  std::vector<std::byte> bytes_;
  std::string log_;
  int error_ = 0;
};

iovec buffer_of(std::vector<std::byte>& bytes) { return {bytes.data(), bytes.size()}; }

std::string log_of_write(std::uint64_t at, std::size_t length,
                         std::uint64_t buffer_bytes_max = WholeBlocks::kNoLimit) {
  Medium medium(256);
  std::vector<std::byte> data(length);
  const iovec buffer = buffer_of(data);
  EXPECT_EQ(WholeBlocks(kBlockBytes, buffer_bytes_max).write(medium, at, {&buffer, 1}), 0);
  return medium.take_log();
}

TEST(WholeBlocks, WriteReadsOnlyBlocksThatItDoesNotCover) {
  const std::string head = "pwritev_rmw_head r16+16 pwritev_rmw_after_head ";
  const auto tail = [](const std::string& read) {
    return "pwritev_rmw_tail " + read + " pwritev_rmw_after_tail ";
  };
  EXPECT_EQ(log_of_write(16, 32), "w16+32 ");
  EXPECT_EQ(log_of_write(17, 31), head + "w16+32 ");
  EXPECT_EQ(log_of_write(16, 17), tail("r32+16") + "w16+32 ");
  EXPECT_EQ(log_of_write(17, 30), head + tail("r32+16") + "w16+32 ");
}

TEST(WholeBlocks, WriteWithinOneBlockReadsItOnce) {
  EXPECT_EQ(log_of_write(17, 3), "pwritev_rmw_head r16+16 pwritev_rmw_after_head w16+16 ");
  EXPECT_EQ(log_of_write(16, 3), "pwritev_rmw_tail r16+16 pwritev_rmw_after_tail w16+16 ");
}

TEST(WholeBlocks, LongWriteGoesInStepsOfTheBuffer) {
  EXPECT_EQ(log_of_write(16, 80, 32), "w16+32 w48+32 w80+16 ");
}

TEST(WholeBlocks, AFailureEndsTheRequest) {
  Medium medium(64);
  medium.fail_with(EIO);
  std::vector<std::byte> data(40);
  const iovec buffer = buffer_of(data);
  const WholeBlocks blocks(kBlockBytes);
  EXPECT_EQ(blocks.read(medium, 3, {&buffer, 1}), EIO);
  EXPECT_EQ(medium.take_log(), "r0+48 ");
  EXPECT_EQ(blocks.write(medium, 3, {&buffer, 1}), EIO);
  EXPECT_EQ(medium.take_log(), "pwritev_rmw_head r0+16 ");
}

void run_random_requests(std::uint64_t seed) {
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  Medium medium(512);
  std::vector<std::byte> model = medium.bytes();
  for (int i = 0; i < 100; ++i) {
    const WholeBlocks blocks(kBlockBytes, i % 2 == 0 ? WholeBlocks::kNoLimit : 32);
    const std::uint64_t at = random() % 512;
    std::vector<std::byte> data(random() % (513 - at));
    const std::size_t cut = data.empty() ? 0 : random() % data.size();
    const iovec buffers[] = {{data.data(), cut}, {data.data() + cut, data.size() - cut}};
    const auto place = model.begin() + static_cast<std::ptrdiff_t>(at);
    if (random() % 2 == 0) {
      for (std::byte& byte : data) byte = static_cast<std::byte>(random());
      std::ranges::copy(data, place);
      ASSERT_EQ(blocks.write(medium, at, buffers), 0);
      ASSERT_EQ(medium.bytes(), model);
    } else {
      ASSERT_EQ(blocks.read(medium, at, buffers), 0);
      ASSERT_TRUE(std::equal(data.begin(), data.end(), place));
    }
  }
}

TEST(WholeBlocks, RequestsOfAnyRangeDoWhatAnArrayDoes) {
  test::for_each_seed(20, run_random_requests, [] { return testing::Test::HasFailure(); });
}

}  // namespace
}  // namespace qcowkit
