// The driver "nbd", with servers that are not ours.
#include "storage/nbd_storage.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <future>
#include <thread>

#include "tests/storage/nbd_storage_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kSize = 4 << 20;

TEST_F(NbdStorage, ReadsWhatWasWritten) {
  serve({"memory", "4M"});
  const auto storage = open_nbd_storage(options());
  EXPECT_EQ(storage->size(), kSize);
  EXPECT_FALSE(storage->can_grow());
  const Bytes bytes = pattern(100'001, 1);
  storage->write(12'345, bytes);
  EXPECT_EQ(read(*storage, 12'345, bytes.size()), bytes);
  EXPECT_EQ(read(*storage, 0, 12'345), Bytes(12'345));
  storage->flush();
  storage->close();
}

TEST_F(NbdStorage, BuffersInPiecesArriveInOrder) {
  serve({"memory", "4M"});
  const auto storage = open_nbd_storage(options());
  Bytes bytes = pattern(60'000, 2);
  const std::array<iovec, 3> from = {iovec{bytes.data(), 10}, iovec{bytes.data() + 10, 0},
                                     iovec{bytes.data() + 10, 59'990}};
  storage->writev(777, from);
  Bytes found(60'000);
  const std::array<iovec, 2> into = {iovec{found.data(), 33'333},
                                     iovec{found.data() + 33'333, 26'667}};
  storage->readv(777, into);
  EXPECT_EQ(found, bytes);
}

TEST_F(NbdStorage, PastTheEndReadsAsZeroesAndCannotBeWritten) {
  serve({"memory", "1M"});
  const auto storage = open_nbd_storage(options());
  storage->write((1 << 20) - 4, pattern(4, 3));
  Bytes expected = pattern(4, 3);
  expected.resize(100);
  EXPECT_EQ(read(*storage, (1 << 20) - 4, 100), expected);
  EXPECT_EQ(read(*storage, 5 << 20, 100), Bytes(100));
  EXPECT_EQ(error_of([&] { storage->write((1 << 20) - 4, pattern(5, 3)); }).code(),
            std::errc::no_space_on_device);
  EXPECT_EQ(error_of([&] { storage->resize(2 << 20, Preallocation::off); }).code(),
            std::errc::no_space_on_device);
}

TEST_F(NbdStorage, HolesAreKnownWithoutReading) {
  serve({"memory", "64M"});
  const auto storage = open_nbd_storage(options());
  storage->write(8 << 20, pattern(65'536, 4));
  const StorageExtent hole = storage->extent_at(0, 64 << 20);
  EXPECT_TRUE(hole.is_hole);
  EXPECT_EQ(hole.length_bytes, 8u << 20);
  const StorageExtent data = storage->extent_at(8 << 20, 64 << 20);
  EXPECT_FALSE(data.is_hole);
  EXPECT_GE(data.length_bytes, 65'536u);
  EXPECT_TRUE(storage->extent_at((8 << 20) + data.length_bytes, 100).is_hole);
  EXPECT_TRUE(storage->extent_at(1 << 30, 100).is_hole);
}

TEST_F(NbdStorage, HolesAreToldFromZeroes) {
  serve({"eval", "get_size=echo 4M", "pread=head -c $3 /dev/zero", "can_extents=exit 0",
         "extents=echo 0 1M hole; echo 1M 1M zero; echo 2M 1M hole,zero; echo 3M 1M"});
  const auto storage = open_nbd_storage(options(/*read_only=*/true));
  struct Expected {
    bool is_hole;
    bool has_unusual_space;
  };
  std::uint64_t offset = 0;
  for (const Expected& expected :
       {Expected{false, true}, Expected{true, true}, Expected{true, false}, Expected{}}) {
    const StorageExtent extent = storage->extent_at(offset, kSize - offset);
    EXPECT_EQ(extent.length_bytes, 1u << 20) << offset;
    EXPECT_EQ(extent.is_hole, expected.is_hole) << offset;
    EXPECT_EQ(extent.has_unusual_space, expected.has_unusual_space) << offset;
    offset += 1 << 20;
  }
}

TEST_F(NbdStorage, ContextsThatAreAskedForHaveToBeThere) {
  serve({"memory", "4M"});
  NbdClientOptions curious = options();
  curious.meta_context = "base:allocation";
  EXPECT_TRUE(open_nbd_storage(curious)->extent_at(0, kSize).is_hole);
  curious.meta_context = "qemu:dirty-bitmap:none";
  EXPECT_EQ(error_of([&] { open_nbd_storage(curious); }).code(), std::errc::invalid_argument);
}

TEST_F(NbdStorage, WritesAreSeenInTheAllocationAtOnce) {
  serve({"memory", "64M"});
  const auto storage = open_nbd_storage(options());
  EXPECT_TRUE(storage->extent_at(1 << 20, 4096).is_hole);
  storage->write(1 << 20, pattern(4096, 5));
  EXPECT_FALSE(storage->extent_at(1 << 20, 4096).is_hole);
  EXPECT_TRUE(storage->write_zeroes(1 << 20, 1 << 20, {.may_unmap = true}));
  EXPECT_TRUE(storage->extent_at(1 << 20, 4096).is_hole);
  EXPECT_EQ(read(*storage, 1 << 20, 4096), Bytes(4096));
}

TEST_F(NbdStorage, ServersThatCannotZeroGetZeroes) {
  serve({"--filter=nozero", "memory", "4M", "zeromode=none"});
  const auto storage = open_nbd_storage(options());
  storage->write(0, pattern(3 << 20, 6));
  EXPECT_FALSE(storage->write_zeroes(0, 4096, {.no_fallback = true}));
  EXPECT_NE(read(*storage, 0, 4096), Bytes(4096));
  EXPECT_TRUE(storage->write_zeroes(100, (2 << 20) + 1, {}));
  EXPECT_EQ(read(*storage, 100, (2 << 20) + 1), Bytes((2 << 20) + 1));
}

TEST_F(NbdStorage, ServersWithLargeBlocksAreGivenWholeOnes) {
  serve({"--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=4096",
         "blocksize-preferred=4096", "blocksize-error-policy=error"});
  const auto storage = open_nbd_storage(options());
  EXPECT_EQ(storage->alignment(), 4096u);
  const Bytes around = pattern(20'000, 7);
  storage->write(4096, Bytes(20'480, std::byte{0xaa}));
  storage->write(4099, around);
  EXPECT_EQ(read(*storage, 4099, around.size()), around);
  EXPECT_EQ(read(*storage, 4096, 3), Bytes(3, std::byte{0xaa}));
  EXPECT_EQ(read(*storage, 24'099, 1), Bytes(1, std::byte{0xaa}));
}

TEST_F(NbdStorage, ReadOnlyExportsCannotBeOpenedForWriting) {
  serve({"--readonly", "memory", "1M"});
  EXPECT_EQ(error_of([&] { open_nbd_storage(options()); }).code(), std::errc::permission_denied);
  const auto storage = open_nbd_storage(options(true));
  EXPECT_TRUE(storage->is_read_only());
  EXPECT_EQ(error_of([&] { storage->write(0, pattern(1, 8)); }).code(), Errc::read_only);
}

TEST_F(NbdStorage, ErrorsOfTheServerAreTold) {
  serve({"--filter=error", "memory", "1M", "error-pread=EIO", "error-pread-rate=100%"});
  const auto storage = open_nbd_storage(options());
  try {
    read(*storage, 4096, 512);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), std::errc::io_error);
    EXPECT_STREQ(error.what(), "nbd+unix://: read 512 bytes at offset 4096: Input/output error");
  }
  storage->write(0, pattern(512, 9));  // the connection is as good as before
  storage->flush();
}

TEST_F(NbdStorage, NobodyThereIsAnErrorAfterTheTimeGiven) {
  NbdClientOptions nowhere = options();
  nowhere.socket_path = directory_.file("nobody");
  nowhere.open_timeout_seconds = 0;
  EXPECT_THROW(open_nbd_storage(nowhere), Error);
  nowhere.open_timeout_seconds = 20;
  nowhere.socket_path = socket();
  auto opening = std::async(std::launch::async, [&] { return open_nbd_storage(nowhere); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  serve({"memory", "1M"});
  const auto storage = opening.get();
  EXPECT_EQ(storage->size(), 1u << 20);
}

TEST_F(NbdStorage, ManyThreadsShareItAndSeeTheirOwnBytes) {
  // Some answers come late, so that they overtake one another.
  serve({"--filter=delay", "--threads=8", "memory", "16M", "rdelay=1ms", "wdelay=1ms"});
  const auto storage = open_nbd_storage(options());
  constexpr unsigned kThreads = 12;
  std::vector<std::thread> threads;
  std::array<bool, kThreads> good{};
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::uint64_t base = t << 20;
      good[t] = true;
      for (unsigned round = 0; round < 20; ++round) {
        const Bytes bytes = pattern(1 + (round * 7919) % 70'000, t * 100 + round);
        storage->write(base + round, bytes);
        good[t] = good[t] && read(*storage, base + round, bytes.size()) == bytes;
        if (round % 7 == 0) storage->flush();
        storage->extent_at(base, 1 << 20);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (unsigned t = 0; t < kThreads; ++t) EXPECT_TRUE(good[t]) << t;
  storage->close();
}

TEST_F(NbdStorage, LostConnectionsFailTheirRequestsAndThoseThatFollow) {
  serve({"--filter=delay", "memory", "4M", "rdelay=10"});
  const auto storage = open_nbd_storage(options());
  std::thread reader([&] { EXPECT_THROW(read(*storage, 0, 512), Error); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  stop_server();
  reader.join();
  EXPECT_THROW(read(*storage, 0, 512), Error);
  storage->close();
}

TEST_F(NbdStorage, ConnectionsAreMadeAgainWhereThatIsWanted) {
  const std::string file = directory_.file("disk");
  std::ofstream(file).close();
  std::filesystem::resize_file(file, kSize);
  serve({"file", file});
  NbdClientOptions patient = options();
  patient.reconnect_delay_seconds = 20;
  const auto storage = open_nbd_storage(patient);
  const Bytes bytes = pattern(10'000, 10);
  storage->write(5000, bytes);
  storage->flush();
  stop_server();
  auto reading = std::async(std::launch::async, [&] { return read(*storage, 5000, bytes.size()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  serve({"file", file});
  EXPECT_EQ(reading.get(), bytes);
  storage->flush();  // nothing was lost
  storage->write(0, bytes);
  storage->flush();
}

TEST_F(NbdStorage, RequestsFailAtOnceWhenTheTimeForReconnectingIsOver) {
  const std::string file = directory_.file("disk");
  std::ofstream(file).close();
  std::filesystem::resize_file(file, kSize);
  serve({"file", file});
  NbdClientOptions patient = options();
  patient.reconnect_delay_seconds = 1;
  const auto storage = open_nbd_storage(patient);
  read(*storage, 0, 512);
  stop_server();
  using Clock = std::chrono::steady_clock;
  const auto lost = Clock::now();
  EXPECT_THROW(read(*storage, 0, 512), Error);
  EXPECT_GE(Clock::now() - lost, std::chrono::milliseconds(700));
  const auto later = Clock::now();
  for (int request = 0; request < 5; ++request) EXPECT_THROW(read(*storage, 0, 512), Error);
  EXPECT_LT(Clock::now() - later, std::chrono::seconds(2));  // not five
  serve({"file", file});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(read(*storage, 0, 512), Bytes(512));
}

TEST_F(NbdStorage, FlushFailsOnceAcknowledgedWritesMayBeLostWithTheServer) {
  serve({"memory", "4M"});
  NbdClientOptions patient = options();
  patient.reconnect_delay_seconds = 20;
  const auto storage = open_nbd_storage(patient);
  storage->write(0, pattern(512, 11));
  serve({"memory", "4M"});
  EXPECT_EQ(read(*storage, 0, 512), Bytes(512));  // what was written is gone
  EXPECT_EQ(error_of([&] { storage->flush(); }).code(), std::errc::io_error);
  storage->write(0, pattern(512, 12));
  EXPECT_EQ(error_of([&] { storage->flush(); }).code(), std::errc::io_error);
}

TEST_F(NbdStorage, RandomRequestsLeaveWhatAByteArrayHas) {
  serve({"--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=512",
         "blocksize-error-policy=error"});
  const auto storage = open_nbd_storage(options());
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  Bytes model(kSize);
  for (int step = 0; step < 300; ++step) {
    const std::uint64_t offset = random() % kSize;
    const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(kSize - offset, 200'000);
    switch (random() % 4) {
      case 0: {
        const Bytes bytes = pattern(length, random());
        storage->write(offset, bytes);
        std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
        break;
      }
      case 1:
        storage->write_zeroes(offset, length, {.may_unmap = random() % 2 == 0});
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0});
        break;
      case 2: {
        const StorageExtent extent = storage->extent_at(offset, length);
        ASSERT_GE(extent.length_bytes, 1u);
        ASSERT_LE(extent.length_bytes, length);
        if (extent.is_hole) {
          ASSERT_TRUE(
              std::all_of(model.begin() + static_cast<std::ptrdiff_t>(offset),
                          model.begin() + static_cast<std::ptrdiff_t>(offset + extent.length_bytes),
                          [](std::byte byte) { return byte == std::byte{0}; }))
              << offset;
        }
        break;
      }
      default:
        ASSERT_EQ(std::memcmp(read(*storage, offset, length).data(), model.data() + offset, length),
                  0)
            << offset << " " << length;
    }
  }
  EXPECT_EQ(read(*storage, 0, kSize), model);
}

TEST_F(NbdStorage, ServersTellWhatTheyOffer) {
  serve({"memory", "1M"});
  const std::vector<NbdExportInfo> exports = list_nbd_exports(options());
  ASSERT_EQ(exports.size(), 1u);
  EXPECT_EQ(exports[0].name, "");
  EXPECT_EQ(exports[0].size_bytes, 1u << 20);
  EXPECT_EQ(exports[0].flags & 0x3, 0x1);  // told, and not read-only
  EXPECT_EQ(exports[0].meta_contexts, std::vector<std::string>{"base:allocation"});
  EXPECT_FALSE(exports[0].block_sizes);

  serve({"--readonly", "--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=512",
         "blocksize-preferred=4096", "blocksize-maximum=1M"});
  const NbdExportInfo info = list_nbd_exports(options()).at(0);
  EXPECT_EQ(info.flags & 0x3, 0x3);
  ASSERT_TRUE(info.block_sizes);
  EXPECT_EQ(info.block_sizes->minimum, 512u);
  EXPECT_EQ(info.block_sizes->preferred, 4096u);
  EXPECT_EQ(info.block_sizes->maximum, 1u << 20);
}

}  // namespace
}  // namespace qcowkit::test
