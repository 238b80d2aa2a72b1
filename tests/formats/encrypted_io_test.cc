// Encrypted runs: any range of them, against a model of plain bytes.
#include "formats/encrypted_io.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "storage/memory_storage.h"
#include "tests/support/content.h"
#include "tests/support/fault_storage.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using test::make_content;

constexpr std::uint64_t kHostOffset = 65536;   // of the space
constexpr std::uint64_t kCipherOffset = 7168;  // as its sectors are numbered
constexpr std::uint64_t kSpaceBytes = 300 * kSectorBytes;

class EncryptedIo : public testing::Test {
 protected:
  EncryptedIo() {
    model_ = make_content(3, kSpaceBytes);
    write_encrypted(run(0), model_);
  }

  EncryptedRun run(std::uint64_t at) {
    return EncryptedRun{*storage_, *cipher_, HostOffset{kHostOffset}, kCipherOffset}.from(at);
  }
  std::vector<std::byte> read(std::uint64_t at, std::uint64_t length_bytes) {
    std::vector<std::byte> bytes(length_bytes);
    read_encrypted(run(at), bytes);
    return bytes;
  }
  std::vector<std::byte> expected(std::uint64_t at, std::uint64_t length_bytes) const {
    return {model_.begin() + at, model_.begin() + at + length_bytes};
  }

  const std::shared_ptr<MemoryStorage> storage_ = std::make_shared<MemoryStorage>();
  const std::unique_ptr<crypto::SectorCipher> cipher_ =
      crypto::make_old_aes_cipher(Secret("password"));
  std::vector<std::byte> model_;
};

TEST_F(EncryptedIo, SectorsAreNumberedByTheCipherOffset) {
  std::vector<std::byte> stored(2 * kSectorBytes);
  storage_->read(kHostOffset + kSectorBytes, stored);
  EXPECT_NE(stored, expected(kSectorBytes, stored.size()));
  cipher_->decrypt(kCipherOffset / kSectorBytes + 1, stored);
  EXPECT_EQ(stored, expected(kSectorBytes, stored.size()));
}

TEST_F(EncryptedIo, EveryRangeAroundSectorsReadsRight) {
  for (const std::uint64_t begin : {0, 1, 511, 512, 513, 1023, 1024}) {
    for (const std::uint64_t length : {1, 2, 511, 512, 513, 1023, 1024, 1025, 5000}) {
      EXPECT_EQ(read(begin, length), expected(begin, length)) << begin << " + " << length;
    }
  }
  EXPECT_EQ(read(0, kSpaceBytes), model_);
  EXPECT_TRUE(read(5, 0).empty());
}

TEST_F(EncryptedIo, AReadIsOneRequest) {
  test::FaultStorage counting(storage_);
  std::vector<std::byte> bytes(100 * kSectorBytes);
  read_encrypted({counting, *cipher_, HostOffset{kHostOffset + 100}, kCipherOffset + 100}, bytes);
  EXPECT_EQ(counting.plan().count(test::kReads), 1u);
}

TEST_F(EncryptedIo, RandomWritesLeaveTheirNeighboursAlone) {
  const auto run_seed = [&](std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t begin = random() % kSpaceBytes;
      const std::uint64_t longest = random() % 4 == 0 ? kSpaceBytes : 3 * kSectorBytes;
      const std::uint64_t length = random() % std::min(longest, kSpaceBytes - begin + 1);
      if (random() % 4 == 0) {
        std::fill_n(model_.begin() + begin, length, std::byte{0});
        write_encrypted_zeroes(run(begin), length);
      } else {
        const std::vector<std::byte> bytes = make_content(random() | 3, length);
        std::copy(bytes.begin(), bytes.end(), model_.begin() + begin);
        write_encrypted(run(begin), bytes);
      }
    }
    EXPECT_EQ(read(0, kSpaceBytes), model_);
  };
  test::for_each_seed(5, run_seed, [] { return HasFailure(); });
  EXPECT_EQ(storage_->size(), kHostOffset + kSpaceBytes);
}

TEST_F(EncryptedIo, AFailedReadOfAnEdgeWritesNothing) {
  test::FaultStorage faulty(storage_);
  faulty.plan().arm({.operations = test::kReads});
  const std::vector<std::byte> bytes(700);
  EXPECT_THROW(write_encrypted(
                   {faulty, *cipher_, HostOffset{kHostOffset + 512}, kCipherOffset + 512}, bytes),
               Error);
  faulty.plan().disarm();
  EXPECT_EQ(read(0, kSpaceBytes), model_);
}

}  // namespace
}  // namespace qcowkit
