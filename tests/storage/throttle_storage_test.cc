// The driver "throttle": several storages share a group's limits.
#include "storage/throttle_storage.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace qcowkit {
namespace {

using namespace std::chrono_literals;

TEST(ThrottleStorage, StoragesOfAGroupShareItsLimits) {
  ThrottleLimits limits;
  limits.iops_total.average = 500;
  const auto group = std::make_shared<ThrottleGroup>("group", limits);
  // 51 requests pass at once, each of the others waits for two milliseconds.
  constexpr int kThreads = 4;
  constexpr int kRequests = 20;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      const auto storage = make_throttle_storage(make_memory_storage(), group);
      std::vector<std::byte> bytes(512);
      for (int request = 0; request < kRequests; ++request) {
        if (request % 2 == 0) {
          storage->write(0, bytes);
        } else {
          storage->read(0, bytes);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(std::chrono::steady_clock::now() - start, 2ms * (kThreads * kRequests - 51));
}

TEST(ThrottleStorage, FlushAndDiscardPastTheEndDoNotWait) {
  ThrottleLimits limits;
  limits.bps_total.average = 1000;
  const auto group = std::make_shared<ThrottleGroup>("group", limits);
  const auto storage = make_throttle_storage(make_memory_storage(), group);
  const auto start = std::chrono::steady_clock::now();
  storage->write(0, std::vector<std::byte>(100'000));  // the next would wait for 100 seconds
  storage->flush();
  storage->discard(100'000, std::uint64_t{1} << 50);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
}

}  // namespace
}  // namespace qcowkit
