// Clients that take all they can get, and the server's other clients beside them.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "qcowkit/nbd.h"
#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::FaultPlan;
using qcowkit::test::FaultStorage;

constexpr std::uint64_t kSize = 64 << 20;
constexpr std::uint32_t kLarge = 32 << 20;  // the largest payload that there may be
constexpr std::uint64_t kMine = kSize / 2;  // from here on no hostile client writes

Bytes filled(std::size_t length, int value) { return Bytes(length, static_cast<std::byte>(value)); }

std::unique_ptr<ServedDisk> served(NbdServerOptions options = {}) {
  return std::make_unique<ServedDisk>(memory_image("raw", kSize), NbdExport{}, std::move(options));
}

/// Says that it writes 32 MiB, and sends the first bytes of them.
void begin_large_write(RawClient& client, std::size_t sent_bytes, Style style = Style::structured) {
  client.request(Command::write, 0, kLarge,
                 style == Style::extended ? command_flag::kPayloadLen : 0);
  client.send(filled(sent_bytes, 0x77));
}

/// One after the other, each of which has to be answered rightly.
void work_undisturbed(RawClient& client, int operations) {
  for (int i = 0; i < operations; ++i) {
    const std::uint64_t offset = kMine + static_cast<std::uint64_t>(i) % 512 * 4096;
    client.write(offset, filled(4096, i % 251), i % 100 == 0 ? command_flag::kFua : 0);
    ASSERT_EQ(client.answer(), WireError::none);
    ASSERT_EQ(client.read(offset, 4096), filled(4096, i % 251));
  }
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(NbdHostileClient, ThatTakesNoRepliesDelaysNoOther) {
  const auto disk = served({.extra_threads_max = 2});
  disk->image->write(0, filled(kSize, 1));
  RawClient stuck(disk->socket());
  stuck.enter(Style::simple);
  for (int i = 0; i < 256; ++i) stuck.request(Command::read, 0, 1 << 20);
  RawClient good(disk->socket());
  good.enter();
  work_undisturbed(good, 500);
  // And it was there all the time: its replies are, too.
  EXPECT_EQ(stuck.chunk(1 << 20).error, WireError::none);
}

TEST(NbdHostileClient, ThatSendsHalvesOfRequestsDelaysNoOther) {
  const auto disk = served();
  std::vector<std::unique_ptr<RawClient>> halves;
  for (int i = 0; i < 10; ++i) {
    halves.push_back(std::make_unique<RawClient>(disk->socket()));
    halves.back()->enter();
  }
  for (int i = 0; i < 5; ++i) halves[i]->send(compact(Command::write, 0, 100));
  Bytes half_a_header = compact(Command::read, 0, 1);
  half_a_header.resize(11);
  for (int i = 5; i < 9; ++i) halves[i]->send(half_a_header);
  begin_large_write(*halves[9], 1000);
  RawClient good(disk->socket());
  good.enter();
  work_undisturbed(good, 500);
}

TEST(NbdHostileClient, ThatKeepsAllThreadsBusyDelaysNoOther) {
  const auto disk = served({.extra_threads_max = 4});
  RawClient greedy(disk->socket());
  greedy.enter();
  std::atomic<bool> is_done{false};
  std::thread writer([&] {
    const Bytes data = filled(256 << 10, 3);
    try {
      for (std::uint64_t i = 0; !is_done; ++i) greedy.write(i % 100 * data.size(), data, 0, i);
    } catch (const std::runtime_error&) {  // it was sent away at the end
    }
  });
  std::thread reader([&] {
    try {
      while (true) greedy.chunk();
    } catch (const std::exception&) {
    }
  });
  RawClient good(disk->socket());
  good.enter();
  work_undisturbed(good, 500);
  is_done = true;
  writer.join();
  greedy.finish_sending();
  reader.join();
}

TEST(NbdHostileClient, ThousandsOfMegabytesAnnouncedTakeNoMemory) {
  constexpr std::size_t kSent = 4 << 20;
  constexpr std::size_t kClients = 24;
  const auto disk = served({.memory_bytes_max = kLarge});
  disk->image->write(0, filled(kLarge, 1));  // so that the disk grows no more
  std::vector<std::unique_ptr<RawClient>> halves;
  const std::size_t before = resident_bytes();
  for (std::size_t i = 0; i < kClients; ++i) {
    halves.push_back(std::make_unique<RawClient>(disk->socket()));
    const auto style = static_cast<Style>(i % 3);
    halves.back()->enter(style);
    begin_large_write(*halves.back(), kSent, style);
  }
  RawClient good(disk->socket());
  good.enter();
  work_undisturbed(good, 100);
  if (!qcowkit::test::kIsSanitized) {
    EXPECT_LT(resident_bytes(), before + kClients * kSent / 2);
  }
  // Those that the server had no memory for are served all the same.
  for (const std::size_t i : {std::size_t{0}, kClients - 2, kClients - 1}) {
    halves[i]->send(filled(kLarge - kSent, 0x77));
    EXPECT_EQ(halves[i]->answer(), WireError::none) << i;
  }
  EXPECT_EQ(good.read(0, 1 << 20), filled(1 << 20, 0x77));
  EXPECT_EQ(good.read(kLarge - 4096, 8192).front(), std::byte{0x77});
}

TEST(NbdHostileClient, LargeReadsThatNobodyTakesLeaveOthersTheirs) {
  for (const Style style : {Style::simple, Style::structured, Style::extended}) {
    const auto disk = served({.memory_bytes_max = 2 << 20});
    Bytes content(4 << 20);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i >> 9);
    disk->image->write(0, content);
    RawClient stuck(disk->socket());
    stuck.enter(style);
    stuck.request(Command::read, 0, 2 << 20, style == Style::simple ? 0 : command_flag::kDf);
    stuck.receive(1);
    RawClient good(disk->socket());
    good.enter(style);
    EXPECT_EQ(good.read(512, 3 << 20, style == Style::simple ? 0 : command_flag::kDf),
              Bytes(content.begin() + 512, content.begin() + 512 + (3 << 20)));
    EXPECT_EQ(good.read(0, 512), Bytes(content.begin(), content.begin() + 512));
  }
}

class WithoutMemory : public testing::TestWithParam<Style> {
 protected:
  WithoutMemory()
      : disk_(memory_image("raw", 4 << 20,
                           std::make_unique<FaultStorage>(make_memory_storage(), plan_)),
              {}, {.memory_bytes_max = 1}) {
    disk_.image->write(0, filled(4 << 20, 1));
    client_ = std::make_unique<RawClient>(disk_.socket());
    client_->enter(GetParam());
  }

  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  ServedDisk disk_;
  std::unique_ptr<RawClient> client_;
};
INSTANTIATE_TEST_SUITE_P(Styles, WithoutMemory,
                         testing::Values(Style::simple, Style::structured, Style::extended));

TEST_P(WithoutMemory, LargeWriteThatFailsIsToldAndTheNextRequestIsServed) {
  plan_->arm({.operations = qcowkit::test::kWrites, .errno_value = ENOSPC});
  client_->write(0, filled(1 << 20, 2));
  EXPECT_EQ(client_->answer(), WireError::nospc);
  plan_->disarm();
  client_->write(0, filled(1 << 20, 2), command_flag::kFua);
  EXPECT_EQ(client_->answer(), WireError::none);
  EXPECT_EQ(client_->read(0, 1 << 20), filled(1 << 20, 2));
}

TEST_P(WithoutMemory, LargeReadThatFailsIsToldOrEndsTheConnection) {
  plan_->arm({.operations = qcowkit::test::kReads});
  const bool is_simple = GetParam() == Style::simple;
  client_->request(Command::read, 0, 1 << 20, is_simple ? 0 : command_flag::kDf);
  if (is_simple) {
    // The header that says there is no error comes before the first byte is read.
    EXPECT_TRUE(client_->is_hung_up());
  } else {
    const Chunk data = client_->chunk();
    EXPECT_EQ(data.type, ReplyType::offset_data);
    EXPECT_FALSE(data.is_last);
    const Chunk error = client_->chunk();
    EXPECT_EQ(error.error, WireError::io);
    EXPECT_TRUE(error.is_last);
    plan_->disarm();
    EXPECT_EQ(client_->read(0, 1 << 20), filled(1 << 20, 1));
  }
  EXPECT_TRUE(disk_.diary.wait_for("problem client 1: read of 1048576 bytes"));
}

/// The limit of open files, put back at the end.
class DescriptorLimit {
 public:
  DescriptorLimit() { ::getrlimit(RLIMIT_NOFILE, &before_); }
  ~DescriptorLimit() { lift(); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

  /// No descriptor is left.
  void exhaust() const {
    const int lowest = ::dup(0);
    ::close(lowest);
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(lowest);
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  void lift() const { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(NbdServerWithoutDescriptors, WaitsAtLeisureAndServesOnceThereAreSome) {
  if (qcowkit::test::kIsSanitized) GTEST_SKIP() << "sanitizers need descriptors of their own";
  const auto disk = served();
  RawClient present(disk->socket());
  present.enter();
  constexpr int kClients = 5;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  disk->socket().copy(address.sun_path, sizeof address.sun_path - 1);
  std::vector<NbdSocket> sockets;
  for (int i = 0; i < kClients; ++i) {
    sockets.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  const DescriptorLimit limit;
  limit.exhaust();
  for (const NbdSocket& socket : sockets) {
    ASSERT_EQ(
        ::connect(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
        0);
  }
  EXPECT_TRUE(disk->diary.wait_for("problem accept: Too many open files"));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(cpu_seconds() - before, 0.25);
  EXPECT_EQ(disk->diary.count("problem"), 1u);
  EXPECT_EQ(present.read(0, 512), filled(512, 0));

  limit.lift();
  for (NbdSocket& socket : sockets) EXPECT_EQ(RawClient(std::move(socket)).enter(), kSize);
}

TEST(NbdServerInNegotiation, WithManyThatDoNotChooseAnExportServesWhoDoes) {
  // The limit of time for each is far away: the number of them is what makes room.
  const auto disk = served({.handshake_seconds = 3600});
  RawClient present(disk->socket());
  present.enter();
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 200; ++i) idle.push_back(std::make_unique<RawClient>(disk->socket()));
  RawClient good(disk->socket());
  EXPECT_EQ(good.enter(), kSize);
  EXPECT_EQ(good.read(0, 512), filled(512, 0));
  EXPECT_EQ(present.read(0, 512), filled(512, 0));
  // The first ones had to go, and who came last has its time.
  idle.front()->receive(sizeof(ServerGreeting));
  EXPECT_TRUE(idle.front()->is_hung_up());
  idle.back()->greet();
  EXPECT_EQ(idle.back()->option(Option::go, info_data("")).last(), OptionReply::ack);
}

}  // namespace
}  // namespace qcowkit::nbd::test
