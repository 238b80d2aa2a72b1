// qcow nbd, with clients that are not ours.
#include "tests/cli/nbd/server.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class Nbd : public NbdProgram {};

TEST_F(Nbd, ClientsReadAndWriteTheDisk) {
  make_image("a.qcow2", "8M");
  write_pattern("a.qcow2", {"write -P 7 1M 64k"});
  serve({"-t", "-f", "qcow2", file("a.qcow2")});
  expect_script_ok(
      "assert h.get_size() == 8 << 20\n"
      "assert h.pread(65536, 1 << 20) == b'\\x07' * 65536\n"
      "h.pwrite(b'\\x09' * 1000, 4 << 20, nbd.CMD_FLAG_FUA)\n"
      "h.zero(4096, 1 << 20)\n"
      "h.trim(65536, 6 << 20)\n"
      "h.flush()\n"
      "assert h.pread(4097, 1 << 20) == bytes(4096) + b'\\x07'\n");
  expect_ok({"nbdcopy", uri(), file("copy.raw")});
  expect_ok(
      {"qemu-img", "compare", "-U", "-f", "raw", "-F", "qcow2", file("copy.raw"), file("a.qcow2")});
}

TEST_F(Nbd, EndsWhenTheLastClientHasGone) {
  make_image("a.qcow2", "1M");
  serve({"-f", "qcow2", file("a.qcow2")});
  expect_script_ok("h.pwrite(b'x' * 512, 0)");
  EXPECT_EQ(finish(), 0) << server_->output();
  EXPECT_FALSE(std::filesystem::exists(socket()));
  expect_sound("a.qcow2");
}

TEST_F(Nbd, GoesByTheReferencesNameAndListsAsItDoes) {
  make_image("a.qcow2", "8M");
  expect_ok({"qemu-img", "bitmap", "--add", file("a.qcow2"), "b0"});
  const Words options = {"-r", "-t",   "-k", socket(),       "-f", "qcow2",
                         "-x", "name", "-D", "for a person", "-A", "-B",
                         "b0", "-e",   "3",  file("a.qcow2")};
  std::vector<std::string> lists;
  for (const std::string& server : Words{"qemu-nbd", file("links/qemu-nbd")}) {
    Words words = options;
    words.insert(words.begin(), server);
    start(words);
    for (const std::string& client : Words{"qemu-nbd", file("links/qemu-nbd")}) {
      const CommandResult list = run({client, "-L", "-k", socket()});
      EXPECT_TRUE(list.ok()) << list.err;
      lists.push_back(list.out);
    }
  }
  ASSERT_EQ(lists.size(), 4u);
  for (const std::string& list : lists) EXPECT_EQ(list, lists[0]);
}

TEST_F(Nbd, SeveralImagesAreServedByName) {
  make_image("a.qcow2", "1M");
  make_image("b.qcow2", "2M");
  serve({"-t", "first=" + file("a.qcow2"), "second=" + file("b.qcow2")});
  EXPECT_EQ(run({"nbdinfo", "--size", uri("first")}).out, "1048576\n");
  EXPECT_EQ(run({"nbdinfo", "--size", uri("second")}).out, "2097152\n");
  EXPECT_FALSE(run({"nbdinfo", "--size", uri("third")}).ok());
}

TEST_F(Nbd, PartOfADiskIsExported) {
  make_image("a.qcow2", "8M");
  write_pattern("a.qcow2", {"write -P 5 2M 4k"});
  serve({"-t", "-o", "2M", "-f", "qcow2", file("a.qcow2")});
  expect_script_ok(
      "assert h.get_size() == 6 << 20\n"
      "assert h.pread(4097, 0) == b'\\x05' * 4096 + b'\\0'\n");
}

TEST_F(Nbd, PartitionsAreFoundInTheirTables) {
  std::string mbr(8 << 20, '\0');
  const auto entry = [&](std::size_t at, char type, unsigned first, unsigned count) {
    mbr[at + 4] = type;
    for (int i = 0; i < 4; ++i) mbr[at + 8 + i] = static_cast<char>(first >> 8 * i & 0xff);
    for (int i = 0; i < 4; ++i) mbr[at + 12 + i] = static_cast<char>(count >> 8 * i & 0xff);
  };
  entry(446, '\x83', 2048, 1000);
  entry(462, '\x05', 4096, 8192);
  mbr.replace(510, 2, "\x55\xaa");
  entry(4096 * 512 + 446, '\x83', 63, 500);  // relative to this table
  mbr.replace(4096 * 512 + 510, 2, "\x55\xaa");
  mbr[(4096 + 63) * 512] = 'L';
  std::ofstream(file("disk"), std::ios::binary) << mbr;

  serve({"-t", "-f", "raw", "-P", "1", file("disk")});
  EXPECT_EQ(run({"nbdinfo", "--size", uri()}).out, "512000\n");
  serve({"-t", "-f", "raw", "-P", "5", file("disk")});
  expect_script_ok("assert h.get_size() == 256000 and h.pread(1, 0) == b'L'\n");
  kill_server();
  const CommandResult missing =
      run({test::tool(), "nbd", "-k", file("s"), "-f", "raw", "-P", "3", file("disk")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_EQ(missing.err, "qcow: Could not find partition 3\n");
}

TEST_F(Nbd, PartitionsOfAGptAreFoundWhereverTheirEntriesLie) {
  std::string gpt(4 << 20, '\0');
  const auto put = [&](std::size_t at, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) gpt[at + i] = static_cast<char>(value >> 8 * i & 0xff);
  };
  gpt[446 + 4] = '\xee';
  gpt.replace(510, 2, "\x55\xaa");
  gpt.replace(512, 8, "EFI PART");
  put(512 + 72, 2, 8);    // the table's sector
  put(512 + 80, 4, 4);    // its entries
  put(512 + 84, 160, 4);  // and their size: the fourth one crosses the end of a sector
  const std::size_t fourth = 1024 + 3 * 160;
  put(fourth, 1, 8);
  put(fourth + 32, 2048, 8);
  put(fourth + 40, 2057, 8);
  gpt[2048 * 512] = 'G';
  std::ofstream(file("disk"), std::ios::binary) << gpt;
  serve({"-t", "-f", "raw", "-P", "4", file("disk")});
  expect_script_ok("assert h.get_size() == 5120 and h.pread(1, 0) == b'G'\n");
  kill_server();

  put(512 + 72, ~0ull, 8);
  std::ofstream(file("disk"), std::ios::binary) << gpt;
  const CommandResult beyond =
      run({test::tool(), "nbd", "-k", file("s"), "-f", "raw", "-P", "4", file("disk")});
  EXPECT_EQ(beyond.exit_code, 1);
  EXPECT_EQ(beyond.err, "qcow: the partition table reaches beyond the disk's end\n");
}

TEST_F(Nbd, WritesCanBeKeptAside) {
  make_image("a.qcow2", "1M");
  serve({"-t", "-s", "-f", "qcow2", file("a.qcow2")});
  expect_script_ok(
      "h.pwrite(b'x' * 70000, 1000)\n"
      "assert h.pread(70000, 1000) == b'x' * 70000\n");
  kill_server();
  expect_ok({"qemu-io", "-f", "qcow2", "-c", "read -P 0 0 1M", file("a.qcow2")});
}

TEST_F(Nbd, SnapshotsAreServedReadOnly) {
  make_image("a.qcow2", "1M");
  write_pattern("a.qcow2", {"write -P 1 0 1M"});
  expect_ok({"qemu-img", "snapshot", "-c", "then", file("a.qcow2")});
  write_pattern("a.qcow2", {"write -P 2 0 1M"});
  serve({"-t", "-l", "then", "-f", "qcow2", file("a.qcow2")});
  expect_script_ok("assert h.is_read_only() and h.pread(512, 0) == b'\\x01' * 512\n");
}

TEST_F(Nbd, BitmapsAndDepthsAreTold) {
  make_image("base.qcow2", "1M");
  write_pattern("base.qcow2", {"write 0 64k"});
  make_image("a.qcow2", "1M", {"-b", file("base.qcow2"), "-F", "qcow2"});
  expect_ok({"qemu-img", "bitmap", "--add", file("a.qcow2"), "b0"});
  write_pattern("a.qcow2", {"write 512k 64k"});
  serve({"-t", "-A", "-B", "b0", "-r", "-f", "qcow2", file("a.qcow2")});
  const CommandResult depths = run({"nbdinfo", "--map=qemu:allocation-depth", uri()});
  EXPECT_NE(depths.out.find("         0       65536    2"), std::string::npos) << depths.out;
  EXPECT_NE(depths.out.find("    524288       65536    1"), std::string::npos) << depths.out;
  const CommandResult dirty = run({"nbdinfo", "--map=qemu:dirty-bitmap:b0", uri()});
  EXPECT_NE(dirty.out.find("    524288       65536    1"), std::string::npos) << dirty.out;
}

TEST_F(Nbd, GoesToTheBackgroundAndEndsBySignal) {
  make_image("a.qcow2", "1M");
  expect_ok({test::tool(), "nbd", "-t", "--fork", "--pid-file=" + file("pid"), "-k", socket(), "-f",
             "qcow2", file("a.qcow2")});
  // It listens when the command returns.
  expect_script_ok("h.pwrite(b'x' * 512, 0)");
  pid_t pid = 0;
  std::ifstream(file("pid")) >> pid;
  ASSERT_GT(pid, 1);
  EXPECT_EQ(::kill(pid, SIGTERM), 0);
  for (int tries = 0; tries < 1000 && std::filesystem::exists(file("pid")); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_FALSE(std::filesystem::exists(file("pid")));
  EXPECT_FALSE(std::filesystem::exists(socket()));
  expect_ok({"qemu-io", "-f", "qcow2", "-c", "read -P 120 0 512", file("a.qcow2")});
}

TEST_F(Nbd, WhatGoesWrongInTheBackgroundIsTheCommandsFailure) {
  const CommandResult result =
      run({test::tool(), "nbd", "--fork", "-k", socket(), file("missing")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("No such file or directory"), std::string::npos) << result.err;
}

TEST_F(Nbd, ServiceManagersPassSocketsOn) {
  make_image("a.qcow2", "3M");
  // Between brackets is a server that nbdinfo starts with a listening socket, as systemd does.
  const CommandResult result = run({"nbdinfo", "--size", "--", "[", file("links/qemu-nbd"), "-r",
                                    "-f", "qcow2", file("a.qcow2"), "]"});
  EXPECT_EQ(result.out, "3145728\n") << result.err;
}

TEST_F(Nbd, AbandonedSocketsAreTakenOver) {
  make_image("a.qcow2", "1M");
  serve({"-t", file("a.qcow2")});
  kill_server();
  ASSERT_TRUE(std::filesystem::exists(socket()));
  server_ = std::make_unique<BackgroundCommand>(
      Words{test::tool(), "nbd", "-t", "-k", socket(), file("a.qcow2")});
  for (int tries = 0; tries < 500 && !run({"nbdinfo", "--size", uri()}).ok(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(run({"nbdinfo", "--size", uri()}).out, "1048576\n");
  // But not from a server that is there.
  make_image("b.qcow2", "1M");
  const CommandResult second = run({test::tool(), "nbd", "-k", socket(), file("b.qcow2")});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_NE(second.err.find("Failed to bind socket"), std::string::npos) << second.err;
}

TEST_F(Nbd, ImagesAreSoundAfterBeingKilledUnderLoad) {
  if (!have_command("fio")) GTEST_SKIP() << "fio is not installed";
  make_image("a.qcow2", "64M");
  serve({"-t", "-e", "0", "--discard=unmap", "-f", "qcow2", file("a.qcow2")});
  BackgroundCommand load({"fio", "--name=load", "--ioengine=nbd", "--uri=" + uri(), "--size=64M",
                          "--rw=randrw", "--bsrange=512-64k", "--iodepth=16", "--fsync=50",
                          "--time_based", "--runtime=20", "--verify=crc32c",
                          "--verify_state_save=0", "--output=" + file("fio.log")});
  const auto holds_data = [&] {
    return run({"qemu-img", "map", "-U", file("a.qcow2")}).out.find("0x") != std::string::npos;
  };
  for (int tries = 0; tries < 500 && !holds_data(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  kill_server();
  load.finish();
  EXPECT_TRUE(holds_data());
  expect_ok({"qemu-img", "check", "-r", "leaks", file("a.qcow2")});
  expect_sound("a.qcow2");
}

TEST_F(Nbd, ManyClientsAtATime) {
  make_image("a.qcow2", "4M");
  write_pattern("a.qcow2", {"write -P 3 0 4M"});
  serve({"-t", "-e", "0", "-f", "qcow2", file("a.qcow2")});
  expect_script_ok(
      "clients = []\n"
      "for i in range(100):\n"
      "  c = nbd.NBD()\n"
      "  c.connect_unix('" +
      socket() +
      "')\n"
      "  clients.append(c)\n"
      "for i, c in enumerate(clients):\n"
      "  c.pwrite(bytes([i]) * 4096, i * 4096)\n"
      "for i, c in enumerate(clients):\n"
      "  assert clients[99 - i].pread(4096, i * 4096) == bytes([i]) * 4096\n");
}

}  // namespace
}  // namespace qcowkit::test
