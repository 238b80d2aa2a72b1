// The driver "blkverify".
#include "storage/blkverify_storage.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/content.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::error_of;
using Bytes = std::vector<std::byte>;

/// A pair with the means to get past it.
struct Pair {
  explicit Pair(MismatchSink sink = {}) {
    auto test_storage = make_memory_storage("a.img");
    auto raw_storage = make_memory_storage("b.img");
    test = test_storage.get();
    raw = raw_storage.get();
    both = make_blkverify_storage(std::move(test_storage), std::move(raw_storage), sink);
  }
  Storage* test;
  Storage* raw;
  std::unique_ptr<Storage> both;
};

TEST(BlkverifyStorage, WritesComeToBoth) {
  Pair pair;
  pair.both->write(100, Bytes(50, std::byte{7}));
  Bytes found(50);
  for (Storage* storage : {pair.test, pair.raw}) {
    storage->read(100, found);
    EXPECT_EQ(found, Bytes(50, std::byte{7}));
  }
  EXPECT_EQ(pair.both->name(), "blkverify:b.img:a.img");
}

TEST(BlkverifyStorage, DifferenceIsReportedWhereItBegins) {
  std::string told;
  Pair pair([&](const std::string& message) { told = message; });
  pair.both->write(0, Bytes(100'000, std::byte{1}));
  pair.test->write(5000, Bytes(1, std::byte{2}));
  Bytes bytes(100'000);
  const std::string expected =
      "blkverify: read offset=0 bytes=65536 contents mismatch at offset 5000";
  EXPECT_EQ(error_of([&] { pair.both->read(0, std::span(bytes).first(65'536)); }).message(),
            expected);
  EXPECT_EQ(told, expected);
  pair.both->read(5001, std::span(bytes).first(10'000));
}

TEST(BlkverifyStorage, HasNoHolesForThemToBeCompared) {
  Pair pair;
  pair.both->resize(32'768, Preallocation::off);
  EXPECT_FALSE(pair.both->extent_at(0, 32'768).is_hole);
  EXPECT_EQ(pair.both->extent_at(0, 40'000).length_bytes, 32'768U);
  EXPECT_TRUE(pair.both->extent_at(32'768, 1).is_hole);
}

TEST(BlkverifyStorage, LargeReadIsComparedToItsLastByte) {
  Pair pair;
  constexpr std::size_t kBytes = (std::size_t{3} << 20) + 77;
  pair.both->write(0, test::make_content(3, kBytes));
  Bytes bytes(kBytes);
  pair.both->read(0, bytes);
  pair.raw->write(kBytes - 1, Bytes(1, ~bytes.back()));
  EXPECT_TRUE(test::mentions(error_of([&] { pair.both->read(0, bytes); }), {"3145804"}));
}

TEST(BlkverifyStorage, ReadsAmongWritesOfTheSameBytesFindNoDifference) {
  std::atomic<int> differences = 0;
  Pair pair([&](const std::string&) { ++differences; });
  pair.both->write(0, Bytes(8192));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Bytes bytes(8192, static_cast<std::byte>(i));
      for (int step = 0; step < 200; ++step) {
        pair.both->write(static_cast<std::uint64_t>(step % 100), std::span(bytes).first(4096));
        pair.both->read(0, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(differences, 0);
}

}  // namespace
}  // namespace qcowkit
