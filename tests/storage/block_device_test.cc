// Block devices: a loop device, where the machine lets us have one.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kDeviceBytes = 4 << 20;

class BlockDevice : public testing::TestWithParam<CacheMode> {
 protected:
  void SetUp() override {
    if (!test::have_command("losetup")) GTEST_SKIP() << "no losetup";
    std::ofstream(folder_.file("disk")).put(0);
    std::filesystem::resize_file(folder_.file("disk"), kDeviceBytes);
    test::CommandResult result = test::run({"losetup", "-f", "--show", folder_.file("disk")});
    if (!result.ok()) GTEST_SKIP() << "no loop device: " << result.err;
    device_ = result.out.substr(0, result.out.find('\n'));
    FileOptions options;
    options.cache = GetParam();
    storage_ = open_file(device_, options);
  }
  void TearDown() override {
    storage_.reset();
    if (!device_.empty()) {
      EXPECT_TRUE(test::run({"losetup", "-d", device_}).ok());
    }
  }
  Storage& storage() { return *storage_; }
  const std::string& device() const { return device_; }
  Bytes read_all(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    storage().read(offset, bytes);
    return bytes;
  }

 private:
  test::TempDir folder_;
  std::string device_;
  std::unique_ptr<Storage> storage_;
};

INSTANTIATE_TEST_SUITE_P(All, BlockDevice, testing::Values(CacheMode::writeback, CacheMode::none));

std::error_code code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return {};
}

TEST_P(BlockDevice, HasAFixedSizeAndNoHoles) {
  EXPECT_EQ(storage().size(), kDeviceBytes);
  EXPECT_FALSE(storage().can_grow());
  EXPECT_FALSE(storage().extent_at(0, kDeviceBytes).is_hole);
  EXPECT_EQ(storage().extent_at(4096, 2 * kDeviceBytes).length_bytes, kDeviceBytes - 4096);
  EXPECT_TRUE(storage().extent_at(kDeviceBytes, 10).is_hole);
}

TEST_P(BlockDevice, UnalignedBytesAreWrittenAndRead) {
  storage().write(0, Bytes(10'000, std::byte{1}));
  storage().write(777, Bytes(3000, std::byte{2}));
  Bytes expected(10'000, std::byte{1});
  std::fill_n(expected.begin() + 777, 3000, std::byte{2});
  EXPECT_EQ(read_all(0, 10'000), expected);
  storage().flush();
}

TEST_P(BlockDevice, ZeroesOfAnyAlignmentClearExactlyTheirRange) {
  for (const bool may_unmap : {false, true}) {
    for (const std::uint64_t length : {100U, 1000U, 100'000U}) {
      storage().write(0, Bytes(200'000, std::byte{1}));
      EXPECT_TRUE(storage().write_zeroes(1001, length, {.may_unmap = may_unmap}));
      Bytes expected(200'000, std::byte{1});
      std::fill_n(expected.begin() + 1001, length, std::byte{0});
      EXPECT_EQ(read_all(0, 200'000), expected) << length << may_unmap;
    }
  }
}

TEST_P(BlockDevice, DiscardLeavesWhatIsOutside) {
  storage().write(0, Bytes(200'000, std::byte{1}));
  storage().discard(1001, 100'000);
  storage().discard(kDeviceBytes - 10, ~std::uint64_t{0});
  EXPECT_EQ(read_all(0, 1001), Bytes(1001, std::byte{1}));
  EXPECT_EQ(read_all(101'001, 98'999), Bytes(98'999, std::byte{1}));
}

TEST_P(BlockDevice, DoesNotGrow) {
  storage().resize(kDeviceBytes, Preallocation::off);
  storage().resize(1000, Preallocation::off);
  EXPECT_EQ(storage().size(), kDeviceBytes);
  const auto no_space = std::errc::no_space_on_device;
  EXPECT_EQ(code_of([&] { storage().resize(kDeviceBytes + 1, Preallocation::off); }), no_space);
  EXPECT_EQ(code_of([&] { storage().write(kDeviceBytes - 100, Bytes(700)); }), no_space);
  EXPECT_EQ(code_of([&] { storage().write_zeroes(kDeviceBytes - 100, 700, {}); }), no_space);
}

TEST_P(BlockDevice, ReadPastTheEndGivesZeroes) {
  storage().write(kDeviceBytes - 1000, Bytes(1000, std::byte{1}));
  Bytes expected(3000, std::byte{0});
  std::fill_n(expected.begin(), 1000, std::byte{1});
  EXPECT_EQ(read_all(kDeviceBytes - 1000, 3000), expected);
}

TEST_P(BlockDevice, CreateKeepsTheDevice) {
  storage().close();
  FileOptions options;
  options.create = true;
  options.cache = GetParam();
  EXPECT_EQ(open_file(device(), options)->size(), kDeviceBytes);
}

}  // namespace
}  // namespace qcowkit
