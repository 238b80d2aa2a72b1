// Direct I/O: requests of any alignment, exact sizes, nothing lost between neighbours.
#include "storage/direct_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "qcowkit/error.h"
#include "qcowkit/storage.h"
#include "storage/memory_storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;

class DirectIoFile : public testing::Test {
 protected:
  void SetUp() override {
    const int fd = ::open(folder_.file("a").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0 && errno == EINVAL) GTEST_SKIP() << "the file system has no O_DIRECT";
    ASSERT_GE(fd, 0);
    fd_ = std::make_unique<FileDescriptor>(fd);
    io_ = std::make_unique<DirectIo>(*fd_, find_direct_alignment(fd, 0), false, false);
  }
  int write(std::uint64_t offset, const Bytes& bytes) {
    Bytes copy = bytes;
    const iovec from{copy.data(), copy.size()};
    return io_->write(offset, {&from, 1});
  }
  Bytes read(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0xee});
    const iovec into{bytes.data(), bytes.size()};
    EXPECT_EQ(io_->read(offset, {&into, 1}), 0);
    return bytes;
  }
  DirectIo& io() { return *io_; }

 private:
  test::TempDir folder_;
  std::unique_ptr<FileDescriptor> fd_;
  std::unique_ptr<DirectIo> io_;
};

TEST_F(DirectIoFile, AlignmentIsAPowerOfTwoUpToAPage) {
  const DirectAlignment alignment = io().alignment();
  for (const std::uint32_t bytes : {alignment.memory, alignment.offset}) {
    EXPECT_GE(bytes, 1U);
    EXPECT_LE(bytes, 4096U);
    EXPECT_EQ(bytes & (bytes - 1), 0U);
  }
}

TEST_F(DirectIoFile, UnalignedMemoryAtAnAlignedOffsetIsWrittenAndRead) {
  Buffer memory(3 * 4096);
  std::fill_n(memory.data(), memory.size(), std::byte{7});
  const iovec odd{memory.data() + 1, 2 * 4096};
  EXPECT_EQ(io().write(4096, {&odd, 1}), 0);
  EXPECT_EQ(io().size(), 3U * 4096);
  std::fill_n(memory.data(), memory.size(), std::byte{0});
  EXPECT_EQ(io().read(4096, {&odd, 1}), 0);
  EXPECT_EQ(memory.data()[0], std::byte{0});
  EXPECT_TRUE(std::all_of(memory.data() + 1, memory.data() + 1 + 2 * 4096,
                          [](std::byte b) { return b == std::byte{7}; }));
}

TEST_F(DirectIoFile, AlignedMemoryInUnalignedPiecesIsOneRequest) {
  Buffer memory(8192);
  std::fill_n(memory.data(), memory.size(), std::byte{9});
  const std::array<iovec, 2> pieces{{{memory.data(), 100}, {memory.data() + 4096, 3996}}};
  EXPECT_EQ(io().write(0, pieces), 0);
  EXPECT_EQ(io().size(), 4096U);
  EXPECT_EQ(read(0, 4096), Bytes(4096, std::byte{9}));
}

TEST_F(DirectIoFile, WriteLongerThanTheBounceBufferKeepsItsEdges) {
  const std::size_t length = (3 << 20) + 777;
  EXPECT_EQ(write(0, Bytes(5 << 20, std::byte{1})), 0);
  EXPECT_EQ(write(1001, Bytes(length, std::byte{2})), 0);
  Bytes expected(5 << 20, std::byte{1});
  std::fill_n(expected.begin() + 1001, length, std::byte{2});
  EXPECT_EQ(read(0, 5 << 20), expected);
  EXPECT_EQ(read(3, (5 << 20) - 3), Bytes(expected.begin() + 3, expected.end()));
}

TEST_F(DirectIoFile, OverwriteInsideTheLastPartialSectorKeepsTheSize) {
  EXPECT_EQ(write(0, Bytes(1000, std::byte{1})), 0);
  EXPECT_EQ(write(990, Bytes(3, std::byte{2})), 0);
  EXPECT_EQ(io().size(), 1000U);
  EXPECT_EQ(read(985, 20),
            Bytes({std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1},
                   std::byte{2}, std::byte{2}, std::byte{2}, std::byte{1}, std::byte{1},
                   std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1}, std::byte{1},
                   std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0}}));
}

TEST_F(DirectIoFile, SizeNeverTellsOfThePadding) {
  std::atomic<bool> is_done{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(write(i * 100, Bytes(100)), 0);
    is_done = true;
  });
  while (!is_done) EXPECT_EQ(io().size() % 100, 0U);
  writer.join();
  EXPECT_EQ(io().size(), 5000U);
}

TEST_F(DirectIoFile, AlignedWriteDuringNeighbouringReadModifyWritesIsNotUndone) {
  // One thread rewrites a whole sector, the other one byte of it; both must be seen each time.
  constexpr std::size_t kSector = 4096;
  EXPECT_EQ(write(0, Bytes(2 * kSector)), 0);
  std::thread small([&] {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(write(kSector - 1, Bytes(2, std::byte{1})), 0);
  });
  Buffer whole(kSector);
  for (int i = 0; i < 100; ++i) {
    std::fill_n(whole.data(), kSector, static_cast<std::byte>(i));
    const iovec from{whole.data(), kSector};
    EXPECT_EQ(io().write(0, {&from, 1}), 0);
    EXPECT_EQ(read(0, kSector - 1), Bytes(kSector - 1, static_cast<std::byte>(i)));
  }
  small.join();
}

TEST_F(DirectIoFile, AppendsBeyondAPaddedTailAreNotCutOff) {
  // The tail of one append is padding where the next one begins.
  constexpr std::uint64_t kHalf = 100'000;
  std::thread far([&] {
    for (std::uint64_t i = 0; i < 50; ++i) {
      EXPECT_EQ(write(kHalf + i * 4096, Bytes(4096, std::byte{2})), 0);
      EXPECT_GE(io().size(), kHalf + (i + 1) * 4096);
    }
  });
  for (std::uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(write(i * 1001, Bytes(1001, std::byte{1})), 0);
  }
  far.join();
  EXPECT_EQ(read(0, 50 * 1001), Bytes(50 * 1001, std::byte{1}));
  EXPECT_EQ(read(kHalf, 50 * 4096), Bytes(50 * 4096, std::byte{2}));
}

TEST_F(DirectIoFile, EventsTellOfSectorsThatAreReadToCompleteAWrite) {
  class Recorder final : public EventListener {
   public:
    void on_event(Event event, std::uint64_t, std::uint64_t) noexcept override {
      events.push_back(event);
    }
    std::vector<Event> events;
  };
  Recorder recorder;
  MemoryStorage raised_on;
  raised_on.set_listener(&recorder);
  constexpr std::size_t kSector = 4096;
  EXPECT_EQ(write(0, Bytes(4 * kSector)), 0);
  const auto write_raising = [&](std::uint64_t offset, std::size_t bytes) {
    Bytes copy(bytes);
    const iovec from{copy.data(), copy.size()};
    EXPECT_EQ(io().write(offset, {&from, 1}, &raised_on), 0);
  };
  write_raising(0, kSector);
  EXPECT_TRUE(recorder.events.empty());
  write_raising(kSector - 1, kSector + 2);
  EXPECT_EQ(recorder.events,
            (std::vector<Event>{Event::pwritev_rmw_head, Event::pwritev_rmw_after_head,
                                Event::pwritev_rmw_tail, Event::pwritev_rmw_after_tail}));
}

}  // namespace
}  // namespace qcowkit
