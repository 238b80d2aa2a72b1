// Requests on the same encrypted sectors.
#include "formats/sector_traffic.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "formats/encrypted_io.h"
#include "storage/memory_storage.h"

namespace qcowkit {
namespace {

// Each thread owns a part of a sector that it shares with others.
TEST(SectorTraffic, WritersOfOneSectorKeepEachOthersBytes) {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kPartBytes = 300;
  constexpr int kRounds = 200;
  MemoryStorage storage;
  const auto cipher = crypto::make_old_aes_cipher(Secret("password"));
  SectorTraffic traffic;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::uint64_t begin = t * kPartBytes;
      const EncryptedRun run = {storage, *cipher, HostOffset{begin}, begin};
      std::vector<std::byte> found(kPartBytes);
      for (int round = 1; round <= kRounds; ++round) {
        const std::vector<std::byte> bytes(kPartBytes, static_cast<std::byte>(round));
        {
          const SectorTraffic::Writing writing(traffic, {begin}, kPartBytes);
          write_encrypted(run, bytes);
        }
        traffic.read({begin}, kPartBytes, [&] { read_encrypted(run, found); });
        if (found != bytes) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Two halves of a sector are always alike; each write changes both, one after the other.
TEST(SectorTraffic, AReaderNeverSeesASectorThatIsHalfWritten) {
  std::atomic<std::uint64_t> halves[2] = {0, 0};
  std::atomic<bool> is_done = false;
  std::atomic<int> wrong = 0;
  SectorTraffic traffic;
  std::thread reader([&] {
    while (!is_done) {
      std::uint64_t seen[2] = {0, 0};
      traffic.read({0}, kSectorBytes, [&] {
        seen[0] = halves[0].load(std::memory_order_relaxed);
        std::this_thread::yield();
        seen[1] = halves[1].load(std::memory_order_relaxed);
      });
      if (seen[0] != seen[1]) ++wrong;
    }
  });
  for (std::uint64_t round = 1; round <= 2000; ++round) {
    const SectorTraffic::Writing writing(traffic, {100}, 10);
    halves[0].store(round, std::memory_order_relaxed);
    std::this_thread::yield();
    halves[1].store(round, std::memory_order_relaxed);
  }
  is_done = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST(SectorTraffic, AReadDuringAWriteIsDoneAgain) {
  SectorTraffic traffic;
  int reads = 0;
  traffic.read({0}, 512, [&] { ++reads; });
  EXPECT_EQ(reads, 1);

  reads = 0;
  traffic.read({0}, 512, [&] {
    // Somebody writes elsewhere while the first attempt is under way.
    if (++reads == 1) const SectorTraffic::Writing writing(traffic, {4096}, 512);
  });
  EXPECT_EQ(reads, 2);
}

}  // namespace
}  // namespace qcowkit
