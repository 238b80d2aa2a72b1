// The gate between changing requests and changes of the image as a whole.
#include "formats/request_gate.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace qcowkit {
namespace {

TEST(RequestGate, LetsRequestsInSideBySide) {
  RequestGate gate;
  const RequestGate::Shared first(gate);
  std::thread([&] { const RequestGate::Shared second(gate); }).join();
}

TEST(RequestGate, LetsNobodyInWhileOneIsAlone) {
  RequestGate gate;
  int value = 0;  // guarded by the gate alone: the thread sanitizer watches
  std::atomic<int> seen_odd{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const RequestGate::Shared request(gate);
        if (value % 2 != 0) ++seen_odd;
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const RequestGate::Exclusive alone(gate);
        ++value;
        std::this_thread::yield();
        ++value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen_odd, 0);
  EXPECT_EQ(value, 800);
}

}  // namespace
}  // namespace qcowkit
