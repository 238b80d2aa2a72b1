// The server as a whole: many clients, bad clients, and its end.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>

#include "qcowkit/nbd.h"
#include "storage/forwarding_storage.h"
#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"
#include "tests/support/errors.h"
#include "tests/support/sanitized.h"
#include "tests/support/seeds.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::error_of;
using qcowkit::test::mentions;

constexpr std::uint64_t kSize = 8 << 20;

Bytes filled(std::size_t length, int value) { return Bytes(length, static_cast<std::byte>(value)); }

std::unique_ptr<ServedDisk> served(NbdServerOptions options = {}) {
  return std::make_unique<ServedDisk>(memory_image("qcow2", kSize), NbdExport{},
                                      std::move(options));
}

/// Reads take long once they are told to, and how many do so at a time is counted.
class SlowStorage final : public ForwardingStorage {
 public:
  explicit SlowStorage(std::unique_ptr<Storage> behind) : ForwardingStorage(std::move(behind)) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    if (is_slow) {
      const int now = ++at_once;
      for (int most = at_once_max; most < now && !at_once_max.compare_exchange_weak(most, now);) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      --at_once;
    }
    ForwardingStorage::readv(host_offset, into);
  }

  std::atomic<bool> is_slow{false};
  std::atomic<int> at_once{0};
  std::atomic<int> at_once_max{0};
};

std::size_t threads_of_this_process() {
  using Entries = std::filesystem::directory_iterator;
  return static_cast<std::size_t>(std::distance(Entries("/proc/self/task"), Entries()));
}

TEST(NbdExports, AreRefusedIfTheyCannotBe) {
  const auto image = memory_image("qcow2", kSize);
  NbdServer server;
  NbdExport good;
  good.name = "a";
  good.image = image.get();
  server.add_export(good);
  const auto refusal = [&](auto change) {
    NbdExport bad = good;
    bad.name = "b";
    change(bad);
    const Error error = error_of([&] { server.add_export(bad); });
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    return error;
  };
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.name = "a"; }), {"\"a\"", "of this name"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.image = nullptr; }), {"\"b\"", "no image"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.name = std::string(4097, 'x'); }), {"4097"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.description = std::string(1, '\0'); }),
                       {"description"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.bitmaps = {"b9"}; }), {"no bitmap \"b9\""}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.guest_offset = kSize + 1; }), {"offset"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) { e.size_bytes = kSize + 1; }), {"beyond"}));
  EXPECT_TRUE(mentions(refusal([](NbdExport& e) {
                         e.guest_offset = 1;
                         e.size_bytes = ~std::uint64_t{0};
                       }),
                       {"beyond"}));
}

TEST(NbdListening, UnixSocketsNameIsRemovedWithIt) {
  const qcowkit::test::TempDir dir;
  {
    const NbdSocket socket = nbd_listen_unix(dir.file("s"));
    EXPECT_TRUE(std::filesystem::exists(dir.file("s")));
    EXPECT_EQ(error_of([&] { nbd_listen_unix(dir.file("s")); }).code(), std::errc::address_in_use);
    EXPECT_TRUE(std::filesystem::exists(dir.file("s")));
  }
  EXPECT_FALSE(std::filesystem::exists(dir.file("s")));
  const std::string too_long = dir.file(std::string(200, 'x'));
  EXPECT_EQ(error_of([&] { nbd_listen_unix(too_long); }).code(), Errc::invalid_argument);
}

TEST(NbdListening, TcpPortsCanBeAnyThatIsFree) {
  const auto sockets = nbd_listen_tcp("127.0.0.1", 0);
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_NE(sockets[0].port(), 0);
  EXPECT_EQ(error_of([] { nbd_listen_tcp("not an address", 1); }).code(), Errc::invalid_argument);
}

TEST(NbdServerOver, TcpServesAndKnowsItsClients) {
  const auto disk = served();
  NbdServerOptions options;
  Diary diary;
  options.on_connect = [&](const NbdClient& client) { diary.note(client.address); };
  NbdServer server(options);
  NbdExport exported;
  exported.image = disk->image.get();
  server.add_export(exported);
  auto sockets = nbd_listen_tcp("127.0.0.1", 0);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(sockets[0].descriptor(), reinterpret_cast<sockaddr*>(&address), &length);
  server.start(std::move(sockets));
  NbdSocket socket(::socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(::connect(socket.descriptor(), reinterpret_cast<sockaddr*>(&address), length), 0);
  RawClient client(std::move(socket));
  EXPECT_EQ(client.enter(), kSize);
  EXPECT_EQ(client.read(0, 100), filled(100, 0));
  EXPECT_TRUE(diary.wait_for("127.0.0.1:"));
}

TEST(NbdServerOver, ConnectedSocketsServes) {
  const auto disk = served();
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  disk->server.serve(NbdSocket(pair[0]));
  RawClient client{NbdSocket(pair[1])};
  EXPECT_EQ(client.enter(), kSize);
}

TEST(NbdServer, TellsWhoComesAndGoes) {
  const auto disk = served();
  {
    RawClient first(disk->socket());
    first.enter();
    RawClient second(disk->socket());
    second.enter();
    second.request(Command::disconnect, 0, 0);
    EXPECT_TRUE(second.is_hung_up());
    EXPECT_TRUE(disk->diary.wait_for("disconnect"));
    EXPECT_EQ(disk->diary.count("last"), 0u);
  }
  EXPECT_TRUE(disk->diary.wait_for("last"));
  EXPECT_EQ(disk->diary.count("connect"), 2u);
  EXPECT_EQ(disk->diary.count("disconnect"), 2u);
  EXPECT_EQ(disk->diary.count("problem"), 0u);
}

TEST(NbdServer, ClientsSeeWhatOthersWrite) {
  const auto disk = served();
  RawClient writer(disk->socket());
  RawClient reader(disk->socket());
  writer.enter();
  reader.enter();
  EXPECT_EQ(reader.read(0, 512), filled(512, 0));
  writer.write(0, filled(512, 6));
  EXPECT_EQ(writer.answer(), WireError::none);
  EXPECT_EQ(reader.read(0, 512), filled(512, 6));
}

TEST(NbdServer, MoreClientsThanAllowedWaitTheirTurn) {
  const auto disk = served({.connections_max = 2});
  RawClient first(disk->socket());
  auto second = std::make_unique<RawClient>(disk->socket());
  first.enter();
  second->enter();
  RawClient third(disk->socket());
  EXPECT_TRUE(third.hears_nothing_for(100));
  second.reset();
  EXPECT_EQ(third.enter(), kSize);
}

TEST(NbdServer, ClientThatDoesNotChooseIsSentAway) {
  const auto disk = served({.handshake_seconds = 1});
  RawClient silent(disk->socket());
  RawClient slow(disk->socket());
  slow.greet();
  RawClient good(disk->socket());
  good.enter();
  slow.send(filled(3, 'I'));
  silent.receive(sizeof(ServerGreeting));
  EXPECT_TRUE(silent.is_hung_up());
  EXPECT_TRUE(slow.is_hung_up());
  EXPECT_EQ(good.read(0, 16), filled(16, 0));
}

TEST(NbdServer, ClientThatTakesNothingDelaysNoOther) {
  const auto disk = served({.send_seconds = 1});
  disk->image->write(0, filled(kSize, 1));
  RawClient stuck(disk->socket());
  stuck.enter();
  for (int i = 0; i < 20; ++i) stuck.request(Command::read, 0, 4 << 20, command_flag::kDf);
  RawClient good(disk->socket());
  good.enter();
  EXPECT_EQ(good.read(0, 512), filled(512, 1));
  EXPECT_TRUE(disk->diary.wait_for("problem"));
  EXPECT_TRUE(disk->diary.wait_for("disconnect"));
  EXPECT_EQ(good.read(0, 512), filled(512, 1));
}

TEST(NbdServer, GarbageInTransmissionEndsThatConnectionOnly) {
  const auto disk = served();
  RawClient good(disk->socket());
  good.enter();
  for (const Style style : {Style::simple, Style::structured, Style::extended}) {
    RawClient bad(disk->socket());
    bad.enter(style);
    bad.send(filled(64, 0x5a));
    EXPECT_TRUE(bad.is_hung_up());
  }
  EXPECT_EQ(good.read(0, 16), filled(16, 0));
}

TEST(NbdServer, RandomBytesHarmNobody) {
  const auto disk = served();
  RawClient good(disk->socket());
  good.enter();
  qcowkit::test::for_each_seed(
      60,
      [&](std::uint64_t seed) {
        SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
        std::mt19937_64 random(seed);
        RawClient bad(disk->socket());
        if (seed % 2 == 0) {
          bad.enter(static_cast<Style>(random() % 3));
        } else {
          bad.greet();
        }
        Bytes bytes;
        for (int message = 0; message < 20; ++message) {
          if (seed % 2 == 0) {
            const auto command = static_cast<Command>(random() % 9);
            const Bytes one = random() % 2 == 0
                                  ? compact(command, random() % kSize, random() % 4096,
                                            static_cast<std::uint16_t>(random() % 64))
                                  : extended(command, random() % kSize, random() % 4096,
                                             static_cast<std::uint16_t>(random() % 64));
            bytes.insert(bytes.end(), one.begin(), one.end());
          } else {
            append(bytes, OptionHeader{kOptionMagic, static_cast<std::uint32_t>(random() % 13),
                                       static_cast<std::uint32_t>(random() % 40)});
          }
          for (std::size_t i = random() % 50; i > 0; --i) {
            bytes.push_back(static_cast<std::byte>(random() % 4));
          }
        }
        try {
          bad.send(bytes);
        } catch (const std::runtime_error&) {  // it was sent away before it was done
        }
      },
      [] { return testing::Test::HasFailure(); });
  EXPECT_EQ(good.read(0, 16).size(), 16u);
}

TEST(NbdServer, AThousandClientsAreServed) {
  const std::size_t count = qcowkit::test::kIsSanitized ? 100 : 1000;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2 * count + 100) GTEST_SKIP() << "too few descriptors are allowed";
  const auto disk = served();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (std::size_t i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<RawClient>(disk->socket()));
    clients.back()->enter();
  }
  for (std::size_t i = 0; i < count; ++i) clients[i]->write(i * 512, filled(512, i % 251 + 1));
  for (const auto& client : clients) EXPECT_EQ(client->answer(), WireError::none);
  EXPECT_EQ(clients.front()->read((count - 1) * 512, 512), filled(512, (count - 1) % 251 + 1));
  clients.clear();
  EXPECT_TRUE(disk->diary.wait_for("disconnect", count));
  EXPECT_TRUE(disk->diary.wait_for("last"));
}

TEST(NbdServer, EndsWithNoThreadLeft) {
  const std::size_t before = threads_of_this_process();
  {
    const auto disk = served();
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<RawClient>(disk->socket()));
      clients.back()->enter();
    }
    EXPECT_GT(threads_of_this_process(), before + 10);
  }
  EXPECT_EQ(threads_of_this_process(), before);
}

TEST(NbdServer, SlowRequestsOfOneClientAreServedAtOnce) {
  auto storage = std::make_unique<SlowStorage>(make_memory_storage());
  SlowStorage& slow = *storage;
  ServedDisk disk(memory_image("raw", kSize, std::move(storage)));
  RawClient client(disk.socket());
  client.enter(Style::simple);
  disk.image->write(0, filled(kSize, 1));
  slow.is_slow = true;
  constexpr int kRequests = 200;
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    client.request(Command::read, i * 512, 512, 0, i);
  }
  for (int i = 0; i < kRequests; ++i) client.chunk(512);
  EXPECT_GE(slow.at_once_max, 8);
  EXPECT_LE(slow.at_once_max, 33);  // those that may help, and the client's own
}

TEST(NbdServer, ExtraThreadsAreNoMoreThanAllowed) {
  auto storage = std::make_unique<SlowStorage>(make_memory_storage());
  SlowStorage& slow = *storage;
  ServedDisk disk(memory_image("raw", kSize, std::move(storage)), {}, {.extra_threads_max = 3});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int c = 0; c < 2; ++c) {
    clients.push_back(std::make_unique<RawClient>(disk.socket()));
    clients.back()->enter(Style::simple);
  }
  disk.image->write(0, filled(kSize, 1));
  slow.is_slow = true;
  for (const auto& client : clients) {
    for (std::uint64_t i = 0; i < 50; ++i) client->request(Command::read, i * 512, 512, 0, i);
  }
  for (const auto& client : clients) {
    for (int i = 0; i < 50; ++i) client->chunk(512);
  }
  EXPECT_GE(slow.at_once_max, 2);
  EXPECT_LE(slow.at_once_max, 5);
}

TEST(NbdServerStop, AnswersWhatHasArrived) {
  auto storage = std::make_unique<SlowStorage>(make_memory_storage());
  SlowStorage& slow = *storage;
  ServedDisk disk(memory_image("raw", kSize, std::move(storage)));
  RawClient client(disk.socket());
  client.enter(Style::simple);
  disk.image->write(0, filled(kSize, 1));
  slow.is_slow = true;
  for (std::uint64_t i = 0; i < 20; ++i) client.request(Command::read, i * 512, 512, 0, i);
  disk.server.stop();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.chunk(512).error, WireError::none);
  EXPECT_TRUE(client.is_hung_up());
  EXPECT_FALSE(std::filesystem::exists(disk.socket()));
}

TEST(NbdServerStop, CanBeAskedForByACallback) {
  const auto image = memory_image("raw", kSize);
  const qcowkit::test::TempDir dir;
  NbdServer* running = nullptr;
  NbdServerOptions options;
  options.on_last_disconnect = [&] { running->request_stop(); };
  NbdServer server(options);
  running = &server;
  NbdExport exported;
  exported.image = image.get();
  server.add_export(exported);
  std::vector<NbdSocket> listening;
  listening.push_back(nbd_listen_unix(dir.file("s")));
  server.start(std::move(listening));
  RawClient(dir.file("s")).enter();
  server.wait();
  EXPECT_EQ(error_of([&] { server.start({}); }).code(), Errc::invalid_argument);
}

TEST(NbdServerStop, OfWhatWasNotStartedIsAtOnce) {
  NbdServer server;
  server.stop();
  server.wait();
}

TEST(NbdServerStop, WaitsForNobodyOnceItIsToCutOff) {
  const auto disk = served({.drain_seconds = 3600});
  RawClient stuck(disk->socket());
  stuck.enter(Style::simple);
  for (int i = 0; i < 64; ++i) stuck.request(Command::read, 0, 1 << 20);
  stuck.receive(1);
  disk->server.request_stop();
  disk->server.request_cut_off();
  disk->server.wait();
  EXPECT_TRUE(disk->diary.wait_for("disconnect"));
}

TEST(NbdServerStop, AmidLoadIsClean) {
  for (int round = 0; round < 5; ++round) {
    const auto disk = served();
    std::vector<std::thread> clients;
    for (int c = 0; c < 3; ++c) {
      clients.emplace_back([&, c] {
        try {
          RawClient client(disk->socket());
          client.enter(static_cast<Style>(c));
          for (std::uint64_t i = 0;; ++i) {
            client.write(i % 1000 * 512, filled(512, c), i % 50 == 0 ? command_flag::kFua : 0);
            client.answer();
            client.read(i % 1000 * 512, 512);
          }
        } catch (const std::exception&) {  // the server's end
        }
      });
    }
    EXPECT_TRUE(disk->diary.wait_for("connect", 3));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    disk->server.stop();
    for (std::thread& client : clients) client.join();
  }
}

}  // namespace
}  // namespace qcowkit::nbd::test
