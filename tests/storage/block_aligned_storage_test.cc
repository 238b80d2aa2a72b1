// What a storage of whole blocks hands on to its child. That it is a storage as good as any is
// asked in storage_contract_test.cc.
#include "storage/block_aligned_storage.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "storage/memory_storage.h"

namespace qcowkit {
namespace {

constexpr std::uint32_t kBlockBytes = 4096;
constexpr std::uint64_t kSize = 16 * kBlockBytes;

/// Notes what arrives.
class Recorder final : public ForwardingStorage {
 public:
  Recorder() : ForwardingStorage(make_memory_storage()) { resize(kSize, Preallocation::off); }

  void readv(std::uint64_t at, std::span<const iovec> into) override {
    for (const iovec& buffer : into) note("read", at, buffer.iov_len);
    ForwardingStorage::readv(at, into);
  }
  void writev(std::uint64_t at, std::span<const iovec> from) override {
    for (const iovec& buffer : from) note("write", at, buffer.iov_len);
    ForwardingStorage::writev(at, from);
  }
  bool write_zeroes(std::uint64_t at, std::uint64_t length, ZeroOptions options) override {
    note("zero", at, length);
    return ForwardingStorage::write_zeroes(at, length, options);
  }
  std::string take_log() { return std::exchange(log_, {}); }

 private:
  void note(const std::string& what, std::uint64_t at, std::uint64_t length) {
    log_ += what + " " + std::to_string(at) + "+" + std::to_string(length) + "; ";
  }
  std::string log_;
};

class BlockAlignedStorageTest : public testing::Test {
 protected:
  BlockAlignedStorageTest() {
    auto recorder = std::make_unique<Recorder>();
    recorder_ = recorder.get();
    storage_ = make_block_aligned_storage(std::move(recorder), kBlockBytes);
  }
  void write(std::uint64_t at, std::size_t length) {
    storage_->write(at, std::vector<std::byte>(length, std::byte{1}));
  }

  Recorder* recorder_ = nullptr;
  std::unique_ptr<Storage> storage_;
};

TEST_F(BlockAlignedStorageTest, AlignmentIsTheBlock) {
  EXPECT_EQ(storage_->alignment(), kBlockBytes);
}

TEST_F(BlockAlignedStorageTest, WholeBlocksAreHandedOnAsTheyAre) {
  write(4096, 8192);
  EXPECT_EQ(recorder_->take_log(), "write 4096+8192; ");
}

TEST_F(BlockAlignedStorageTest, PartsOfBlocksAreCompleted) {
  write(4095, 2);
  EXPECT_EQ(recorder_->take_log(), "read 0+4096; read 4096+4096; write 0+8192; ");
  std::vector<std::byte> bytes(10);
  storage_->read(4000, bytes);
  EXPECT_EQ(recorder_->take_log(), "read 0+4096; ");
}

TEST_F(BlockAlignedStorageTest, PaddingDoesNotMakeTheStorageGrow) {
  write(kSize + 10, 5);
  EXPECT_EQ(storage_->size(), kSize + 15);
}

TEST_F(BlockAlignedStorageTest, EdgesOfZeroesAreWritten) {
  EXPECT_TRUE(storage_->write_zeroes(4000, 8384, {}));
  EXPECT_EQ(recorder_->take_log(),
            "read 0+4096; write 0+4096; zero 4096+8192; read 12288+4096; write 12288+4096; ");
}

TEST_F(BlockAlignedStorageTest, ZeroesThatAreNoWholeBlocksAreRefusedWhereTheyMayNotBeWritten) {
  EXPECT_FALSE(storage_->write_zeroes(4000, 8384, {.no_fallback = true}));
  EXPECT_EQ(recorder_->take_log(), "");
  EXPECT_TRUE(storage_->write_zeroes(4096, 8192, {.no_fallback = true}));
}

TEST(BlockAlignedStorage, BlocksOfZeroesMayBeLargerAndNoPowerOfTwo) {
  auto owned = std::make_unique<Recorder>();
  Recorder& recorder = *owned;
  BlockAlignedStorage storage(std::move(owned), 512, 1536);
  EXPECT_TRUE(storage.write_zeroes(512, 4096, {}));
  EXPECT_EQ(recorder.take_log(), "write 512+1024; zero 1536+3072; ");
}

}  // namespace
}  // namespace qcowkit
