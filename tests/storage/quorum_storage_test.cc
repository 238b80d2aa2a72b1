// The driver "quorum": copies that vote.
#include "storage/quorum_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "storage/forwarding_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using test::error_of;
using Bytes = std::vector<std::byte>;
constexpr std::size_t kBytes = 16 << 10;

/// Fails all requests while it is told to.
class SickStorage final : public ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    examine();
    ForwardingStorage::readv(host_offset, into);
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    examine();
    ForwardingStorage::writev(host_offset, from);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    examine();
    if (options.no_fallback && is_slow) return false;
    return ForwardingStorage::write_zeroes(host_offset, length_bytes, options);
  }
  void flush() override {
    examine();
    ForwardingStorage::flush();
  }

  int errno_value = 0;
  bool is_slow = false;

 private:
  void examine() const {
    if (errno_value != 0) throw os_error(errno_value, "sick");
  }
};

/// Children of one size, and the quorum over them.
struct Copies {
  Copies(std::size_t count, QuorumOptions options) {
    std::vector<std::unique_ptr<Storage>> storages;
    for (std::size_t i = 0; i < count; ++i) {
      auto memory = make_memory_storage();
      memory->resize(kBytes, Preallocation::off);
      auto child = std::make_unique<SickStorage>(std::move(memory));
      children.push_back(child.get());
      storages.push_back(std::move(child));
    }
    quorum = make_quorum_storage(std::move(storages), options);
  }
  std::vector<SickStorage*> children;
  std::unique_ptr<Storage> quorum;
};

Bytes read(Storage& storage, std::uint64_t offset = 0, std::size_t length = kBytes) {
  Bytes bytes(length, std::byte{0xee});
  storage.read(offset, bytes);
  return bytes;
}

Bytes filled(int value, std::size_t length = kBytes) {
  return Bytes(length, static_cast<std::byte>(value));
}

TEST(QuorumStorage, MajorityOutvotesACorruptedChild) {
  Copies copies(3, {.vote_threshold = 2});
  copies.quorum->write(0, filled(3));
  copies.children[0]->write(5000, filled(9, 100));
  EXPECT_EQ(read(*copies.quorum), filled(3));
  EXPECT_NE(read(*copies.children[0]), filled(3));
}

TEST(QuorumStorage, TooFewVotesAreAnInputOutputError) {
  Copies copies(3, {.vote_threshold = 3});
  copies.children[1]->write(5000, filled(9, 1));
  EXPECT_EQ(error_of([&] { read(*copies.quorum); }).code(), std::errc::io_error);
  EXPECT_EQ(read(*copies.quorum, 5001, 10), filled(0, 10));
}

TEST(QuorumStorage, OfEqualVotesTheLastVersionWins) {
  Copies copies(2, {.vote_threshold = 1});
  copies.children[0]->write(0, filled(4));
  copies.children[1]->write(0, filled(5));
  EXPECT_EQ(read(*copies.quorum), filled(5));
}

TEST(QuorumStorage, RewriteCorruptedMakesTheLosersRight) {
  Copies copies(3, {.vote_threshold = 2, .rewrite_corrupted = true});
  copies.quorum->write(0, filled(3));
  copies.children[2]->write(5000, filled(9, 100));
  EXPECT_EQ(read(*copies.quorum, 4096, 4096), filled(3, 4096));
  EXPECT_EQ(read(*copies.children[2]), filled(3));
}

TEST(QuorumStorage, FifoTakesTheFirstChildThatCanBeRead) {
  Copies copies(2, {.vote_threshold = 2, .read_pattern = QuorumReadPattern::fifo});
  copies.children[0]->write(0, filled(4));
  copies.children[1]->write(0, filled(5));
  EXPECT_EQ(read(*copies.quorum), filled(4));
  copies.children[0]->errno_value = EIO;
  EXPECT_EQ(read(*copies.quorum), filled(5));
  copies.children[1]->errno_value = EBADF;
  EXPECT_EQ(error_of([&] { read(*copies.quorum); }).code(), std::errc::bad_file_descriptor);
}

TEST(QuorumStorage, BlkverifyReportsADifference) {
  std::string told;
  Copies copies(2, {.vote_threshold = 2,
                    .blkverify = true,
                    .on_mismatch = [&](const std::string& message) { told = message; }});
  copies.children[1]->write(5000, filled(9, 100));
  const std::string expected = "quorum: offset=4990 bytes=26 contents mismatch at offset 5000";
  EXPECT_EQ(error_of([&] { read(*copies.quorum, 4990, 26); }).message(), expected);
  EXPECT_EQ(told, expected);
}

TEST(QuorumStorage, WriteAndFlushNeedAsManyChildrenAsARead) {
  Copies copies(3, {.vote_threshold = 2});
  copies.children[0]->errno_value = ENOSPC;
  copies.quorum->write(0, filled(3));
  copies.quorum->write_zeroes(0, 512, {});
  copies.quorum->flush();
  copies.children[1]->errno_value = EROFS;
  copies.children[2]->errno_value = EROFS;
  EXPECT_EQ(error_of([&] { copies.quorum->write(0, filled(3)); }).code(),
            std::errc::read_only_file_system);
  EXPECT_EQ(error_of([&] { copies.quorum->flush(); }).code(), std::errc::read_only_file_system);
  EXPECT_EQ(error_of([&] { copies.quorum->write_zeroes(0, 1, {}); }).code(),
            std::errc::read_only_file_system);
}

TEST(QuorumStorage, ChildThatMissedAWriteIsOutvoted) {
  Copies copies(3, {.vote_threshold = 2});
  copies.children[0]->errno_value = EIO;
  copies.quorum->write(0, filled(3));
  copies.children[0]->errno_value = 0;
  EXPECT_EQ(read(*copies.quorum), filled(3));
}

TEST(QuorumStorage, ZeroesWithoutFallbackAreAllOrNothing) {
  Copies copies(2, {.vote_threshold = 2});
  copies.quorum->write(0, filled(3));
  copies.children[0]->is_slow = true;
  EXPECT_FALSE(copies.quorum->write_zeroes(0, kBytes, {.no_fallback = true}));
  EXPECT_EQ(read(*copies.quorum), filled(3));
  copies.children[0]->is_slow = false;
  copies.children[1]->is_slow = true;
  EXPECT_TRUE(copies.quorum->write_zeroes(0, kBytes, {.no_fallback = true}));
  EXPECT_EQ(read(*copies.quorum), filled(0));
}

TEST(QuorumStorage, HoleIsWhatAllChildrenCallOne) {
  Copies copies(2, {.vote_threshold = 2});
  copies.children[1]->write(8192, filled(1, 4096));
  const StorageExtent first = copies.quorum->extent_at(0, kBytes);
  EXPECT_TRUE(first.is_hole);
  EXPECT_EQ(first.length_bytes, 8192U);
  EXPECT_FALSE(copies.quorum->extent_at(8192, kBytes).is_hole);
}

TEST(QuorumStorage, OptionsThatDoNotFitAreRefusedInTheReferencesWords) {
  const auto refusal = [](std::size_t count, const QuorumOptions& options) {
    return error_of([&] { const Copies copies(count, options); }).message();
  };
  EXPECT_EQ(refusal(0, {.vote_threshold = 1}), "Number of provided children must be 1 or more");
  EXPECT_EQ(refusal(3, {}), "Parameter 'vote-threshold' expects a value >= 1");
  EXPECT_EQ(refusal(3, {.vote_threshold = 4}), "threshold may not exceed children count");
  EXPECT_EQ(refusal(3, {.vote_threshold = 2, .blkverify = true}),
            "blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
  EXPECT_EQ(refusal(2, {.vote_threshold = 2, .blkverify = true, .rewrite_corrupted = true}),
            "rewrite-corrupted=on cannot be used with blkverify=on");
}

TEST(QuorumStorage, ChildrenOfDifferentSizesAreRefused) {
  std::vector<std::unique_ptr<Storage>> storages;
  storages.push_back(make_memory_storage());
  storages.push_back(make_memory_storage());
  storages[1]->resize(512, Preallocation::off);
  EXPECT_EQ(
      error_of([&] { make_quorum_storage(std::move(storages), {.vote_threshold = 1}); }).message(),
      "Could not refresh total sector count: Input/output error");
}

TEST(QuorumStorageProperty, OneChildThatRotsOrFailsChangesNothing) {
  test::for_each_seed(
      20,
      [](std::uint64_t seed) {
        SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
        std::mt19937_64 random(seed);
        Copies copies(3, {.vote_threshold = 2, .rewrite_corrupted = random() % 2 == 0});
        SickStorage& victim = *copies.children[random() % 3];
        Bytes model(kBytes);
        for (int step = 0; step < 100; ++step) {
          victim.errno_value = random() % 4 == 0 ? EIO : 0;
          const std::size_t at = random() % kBytes;
          const std::size_t length = 1 + random() % (kBytes - at);
          switch (random() % 4) {
            case 0: {
              const Bytes bytes = test::make_content(random(), length);
              copies.quorum->write(at, bytes);
              std::copy(bytes.begin(), bytes.end(),
                        model.begin() + static_cast<std::ptrdiff_t>(at));
              break;
            }
            case 1:
              copies.quorum->write_zeroes(at, length, {.may_unmap = true});
              std::memset(model.data() + at, 0, length);
              break;
            case 2:
              victim.errno_value = 0;
              victim.write(at, test::make_content(random(), length));
              break;
            default:
              EXPECT_TRUE(std::ranges::equal(read(*copies.quorum, at, length),
                                             std::span(model).subspan(at, length)));
          }
        }
        EXPECT_EQ(read(*copies.quorum), model);
      },
      [] { return testing::Test::HasFailure(); });
}

TEST(QuorumStorage, RewritingAmongWritesUndoesNone) {
  Copies copies(3, {.vote_threshold = 2, .rewrite_corrupted = true});
  constexpr unsigned kThreads = 4;
  constexpr std::size_t kPart = kBytes / kThreads;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int step = 1; step <= 100; ++step) {
        copies.quorum->write(i * kPart, filled(step, kPart));
        // Rot in one child, which everybody's reads put right.
        copies.children[0]->write(i * kPart + 100, filled(0xaa, 10));
        EXPECT_EQ(read(*copies.quorum, i * kPart, kPart), filled(step, kPart));
        read(*copies.quorum);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  read(*copies.quorum);
  for (SickStorage* child : copies.children) EXPECT_EQ(read(*child), filled(100));
}

}  // namespace
}  // namespace qcowkit
