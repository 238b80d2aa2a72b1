// Group flushes: who is covered by which sync, and failures that stay.
#include "storage/group_flush.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

namespace qcowkit {
namespace {

TEST(GroupFlush, EveryCallAloneSyncsOnce) {
  GroupFlush flush;
  int syncs = 0;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(flush([&] { return ++syncs, 0; }), 0);
  EXPECT_EQ(syncs, 3);
}

TEST(GroupFlush, FailureStaysAndIsNotTriedAgain) {
  GroupFlush flush;
  int syncs = 0;
  EXPECT_EQ(flush([&] { return ++syncs, EIO; }), EIO);
  EXPECT_EQ(flush([&] { return ++syncs, 0; }), EIO);
  EXPECT_EQ(syncs, 1);
}

TEST(GroupFlush, ThoseWhoWaitShareTheNextSync) {
  GroupFlush flush;
  std::atomic<int> syncs{0};
  std::atomic<bool> may_end{false};
  std::thread first([&] {
    flush([&] {
      ++syncs;
      while (!may_end) std::this_thread::yield();
      return 0;
    });
  });
  while (syncs == 0) std::this_thread::yield();
  std::vector<std::thread> others;
  for (int i = 0; i < 6; ++i) others.emplace_back([&] { flush([&] { return ++syncs, 0; }); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(syncs, 1);  // none of them is content with a sync that began before
  may_end = true;
  first.join();
  for (std::thread& thread : others) thread.join();
  EXPECT_GE(syncs, 2);
  EXPECT_LE(syncs, 7);
}

TEST(GroupFlush, WhatWasWrittenBeforeTheCallIsCovered) {
  GroupFlush flush;
  std::atomic<int> written{0};
  std::atomic<int> durable{0};
  const auto sync = [&] {
    const int seen = written;
    std::this_thread::yield();
    durable = seen;
    return 0;
  };
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const int mine = ++written;
        flush(sync);
        EXPECT_GE(durable, mine);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace qcowkit
