// The fault storage itself: it fails when told, as told, and not otherwise.
#include "tests/support/fault_storage.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit::test {
namespace {

using Bytes = std::vector<std::byte>;

class FaultStorageTest : public testing::Test {
 protected:
  bool fails(const std::function<void()>& action, std::errc expected = std::errc::io_error) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), expected);
      return true;
    }
    return false;
  }
  Bytes read_behind(std::size_t length) {
    Bytes bytes(length);
    behind_->read(0, bytes);
    return bytes;
  }
  std::shared_ptr<Storage> behind_ = make_memory_storage();
  FaultStorage storage_{behind_};
  FaultPlan& plan_ = storage_.plan();
};

TEST_F(FaultStorageTest, CountsEveryKind) {
  Bytes byte(1);
  storage_.write(0, byte);
  storage_.write(1, byte);
  storage_.write_zeroes(5, 5, {});
  storage_.discard(0, 1);
  storage_.flush();
  storage_.resize(100, Preallocation::off);
  storage_.read(0, byte);
  EXPECT_EQ(plan_.count(kWrites), 2U);
  EXPECT_EQ(plan_.count(kChanges), 5U);
  EXPECT_EQ(plan_.count(kAllOperations), 7U);
  EXPECT_FALSE(plan_.has_fired());
}

TEST_F(FaultStorageTest, FailsTheNthOnceAndDoesNothingThen) {
  const Bytes ones(4, std::byte{1});
  plan_.arm({.operations = kWrites, .at = 2, .errno_value = ENOSPC});
  storage_.write(0, ones);
  storage_.flush();
  EXPECT_FALSE(plan_.has_fired());
  EXPECT_TRUE(fails([&] { storage_.write(4, ones); }, std::errc::no_space_on_device));
  EXPECT_TRUE(plan_.has_fired());
  EXPECT_EQ(storage_.size(), 4U);
  storage_.write(4, ones);
  EXPECT_EQ(storage_.size(), 8U);
}

TEST_F(FaultStorageTest, FailsFromTheNthOnUntilDisarmed) {
  plan_.arm({.operations = kReads | kResizes, .at = 2, .stays = true});
  Bytes byte(1);
  storage_.read(0, byte);
  EXPECT_TRUE(fails([&] { storage_.resize(10, Preallocation::off); }));
  EXPECT_TRUE(fails([&] { storage_.read(0, byte); }));
  plan_.disarm();
  storage_.read(0, byte);
  EXPECT_EQ(storage_.size(), 0U);
}

TEST_F(FaultStorageTest, TornWriteLeavesItsFirstBytes) {
  storage_.write(0, Bytes(10, std::byte{1}));
  plan_.arm({.operations = kWrites, .torn_bytes = 3});
  EXPECT_TRUE(fails([&] { storage_.write(0, Bytes(10, std::byte{2})); }));
  EXPECT_EQ(read_behind(4), (Bytes{std::byte{2}, std::byte{2}, std::byte{2}, std::byte{1}}));
  plan_.arm({.operations = kZeroWrites, .torn_bytes = 2});
  EXPECT_TRUE(fails([&] { storage_.write_zeroes(0, 10, {}); }));
  EXPECT_EQ(read_behind(4), (Bytes{std::byte{0}, std::byte{0}, std::byte{2}, std::byte{1}}));
}

TEST_F(FaultStorageTest, FailedFlushStaysFailedForThisStorageOnly) {
  plan_.arm({.operations = kFlushes});
  EXPECT_TRUE(fails([&] { storage_.flush(); }));
  plan_.disarm();
  EXPECT_TRUE(fails([&] { storage_.flush(); }));
  FaultStorage reopened(behind_);
  reopened.flush();
}

TEST_F(FaultStorageTest, OnePlanServesSeveralStorages) {
  const auto plan = std::make_shared<FaultPlan>();
  FaultStorage a(make_memory_storage(), plan);
  FaultStorage b(make_memory_storage(), plan);
  plan->arm({.operations = kWrites, .at = 2});
  a.write(0, Bytes(1));
  EXPECT_TRUE(fails([&] { b.write(0, Bytes(1)); }));
}

TEST_F(FaultStorageTest, CloseLeavesTheBytesForTheNext) {
  storage_.write(0, Bytes(3, std::byte{7}));
  storage_.close();
  EXPECT_EQ(read_behind(3), Bytes(3, std::byte{7}));
}

}  // namespace
}  // namespace qcowkit::test
