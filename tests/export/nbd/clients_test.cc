// Other people's clients, at our server.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "tests/export/nbd/served_disk.h"
#include "tests/support/command.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::nbd::test {
namespace {

using nlohmann::json;
using qcowkit::test::CommandResult;
using qcowkit::test::have_command;
using qcowkit::test::run;

constexpr std::uint64_t kSize = 8 << 20;
constexpr std::uint64_t kCluster = 65536;

using Bytes = std::vector<std::byte>;

#define REQUIRE_COMMAND(name) \
  if (!have_command(name)) GTEST_SKIP() << "there is no " name

Bytes random_bytes(std::size_t length) {
  std::mt19937_64 random(length);
  Bytes bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

Bytes content_of(Image& image) {
  Bytes bytes(image.virtual_size());
  image.read(0, bytes);
  return bytes;
}

/// With data at both ends, and a bitmap that has noted the second of them.
std::unique_ptr<Image> disk_with_all() {
  auto image = memory_image("qcow2", kSize);
  image->write(0, random_bytes(3 * kCluster));
  image->add_bitmap({.name = "b0"});
  image->write(kSize - kCluster, random_bytes(kCluster));
  return image;
}

NbdExport export_with_all() {
  NbdExport disk;
  disk.description = "a disk for tests";
  disk.bitmaps = {"b0"};
  disk.allocation_depth = true;
  return disk;
}

class ClientsOf : public testing::Test {
 protected:
  ClientsOf() : disk_(disk_with_all(), export_with_all()) {}

  CommandResult succeed(const std::vector<std::string>& command) {
    const CommandResult result = run(command);
    EXPECT_TRUE(result.ok()) << command.front() << ": " << result.out << result.err;
    return result;
  }
  void nbdsh(const std::string& script) {
    succeed({"env", kSystemPath, "nbdsh", "-c", "uri = '" + disk_.uri() + "'", "-c", script});
  }
  /// nbdsh is a module of the system's Python, whichever else PATH has first.
  static constexpr char kSystemPath[] = "PATH=/usr/bin:/bin";
  static bool have_nbdsh() { return run({"env", kSystemPath, "nbdsh", "-c", "pass"}).ok(); }

  ServedDisk disk_;
};

TEST_F(ClientsOf, NbdinfoFindsAllThatIsOffered) {
  REQUIRE_COMMAND("nbdinfo");
  const json list = json::parse(succeed({"nbdinfo", "--list", "--json", disk_.uri()}).out);
  EXPECT_EQ(list["protocol"], "newstyle-fixed");
  const json& found = list["exports"].at(0);
  EXPECT_EQ(found["description"], "a disk for tests");
  EXPECT_EQ(found["export-size"], kSize);
  EXPECT_EQ(found["contexts"],
            json({"base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"}));
  for (const char* able : {"can_cache", "can_df", "can_fast_zero", "can_flush", "can_fua",
                           "can_multi_conn", "can_trim", "can_zero"}) {
    EXPECT_EQ(found[able], true) << able;
  }
  EXPECT_EQ(found["block_size_maximum"], 32 << 20);
}

TEST_F(ClientsOf, NbdinfoMapsEachContext) {
  REQUIRE_COMMAND("nbdinfo");
  const auto map = [&](const std::string& context) {
    return json::parse(succeed({"nbdinfo", "--map=" + context, "--json", disk_.uri()}).out);
  };
  const auto run_of = [](std::uint64_t offset, std::uint64_t length, int type,
                         const std::string& description) {
    return json{
        {"offset", offset}, {"length", length}, {"type", type}, {"description", description}};
  };
  const std::uint64_t hole = kSize - 4 * kCluster;
  EXPECT_EQ(map("base:allocation"),
            json({run_of(0, 3 * kCluster, 0, "data"), run_of(3 * kCluster, hole, 3, "hole,zero"),
                  run_of(kSize - kCluster, kCluster, 0, "data")}));
  EXPECT_EQ(map("qemu:dirty-bitmap:b0"), json({run_of(0, kSize - kCluster, 0, "clean"),
                                               run_of(kSize - kCluster, kCluster, 1, "dirty")}));
  EXPECT_EQ(map("qemu:allocation-depth"),
            json({run_of(0, 3 * kCluster, 1, "local"), run_of(3 * kCluster, hole, 0, "absent"),
                  run_of(kSize - kCluster, kCluster, 1, "local")}));
}

TEST_F(ClientsOf, NbdcopyCopiesOut) {
  REQUIRE_COMMAND("nbdcopy");
  const std::string path = disk_.dir.file("copy.raw");
  succeed({"nbdcopy", disk_.uri(), path});
  EXPECT_EQ(qcowkit::test::read_file(path), content_of(*disk_.image));
}

TEST_F(ClientsOf, NbdcopyCopiesInAndZeroesHoles) {
  REQUIRE_COMMAND("nbdcopy");
  const std::string path = disk_.dir.file("source.raw");
  Bytes content(kSize);
  const Bytes data = random_bytes(5 * kCluster);
  std::copy(data.begin(), data.end(), content.begin() + (1 << 20) + 512);
  qcowkit::test::write_file(path, content);
  succeed({"nbdcopy", "--flush", path, disk_.uri()});
  EXPECT_EQ(content_of(*disk_.image), content);
}

TEST_F(ClientsOf, NbdcopyCopiesFromOneServerToAnother) {
  REQUIRE_COMMAND("nbdcopy");
  ServedDisk target(memory_image("raw", kSize));
  succeed({"nbdcopy", "--connections=4", disk_.uri(), target.uri()});
  EXPECT_EQ(content_of(*target.image), content_of(*disk_.image));
}

TEST_F(ClientsOf, NbdshDoesEveryCommand) {
  if (!have_nbdsh()) GTEST_SKIP() << "there is no nbdsh";
  nbdsh(R"(
h.add_meta_context("base:allocation")
h.connect_uri(uri)
assert h.get_structured_replies_negotiated()
data = bytes(range(256)) * 16
h.pwrite(data, 1000)
assert h.pread(4096, 1000) == data
h.pwrite(data, 2000, nbd.CMD_FLAG_FUA)
h.zero(512, 2000)
assert h.pread(512, 2000) == bytes(512)
h.zero(65536, 131072, nbd.CMD_FLAG_FAST_ZERO)
h.zero(65536, 131072, nbd.CMD_FLAG_NO_HOLE)
h.trim(65536, 65536)
h.cache(8192, 0)
h.flush()
found = []
h.block_status(h.get_size(), 0, lambda context, offset, entries, error: found.extend(entries))
assert sum(found[0::2]) == h.get_size(), found
chunks = []
h.pread_structured(1 << 20, 1 << 20, lambda b, o, s, e: chunks.append(s))
assert chunks == [nbd.READ_HOLE], chunks
chunks = []
h.pread_structured(1 << 20, 0, lambda b, o, s, e: chunks.append(s), nbd.CMD_FLAG_DF)
assert chunks == [nbd.READ_DATA], chunks
)");
}

TEST_F(ClientsOf, NbdshSeesRefusalsAndGoesOn) {
  if (!have_nbdsh()) GTEST_SKIP() << "there is no nbdsh";
  nbdsh(R"(
import errno
h.set_strict_mode(0)
h.connect_uri(uri)
def refused(expected, request):
    try:
        request()
    except nbd.Error as error:
        assert error.errnum == expected, error
    else:
        assert False, expected
size = h.get_size()
refused(errno.EINVAL, lambda: h.pread(512, size))
refused(errno.ENOSPC, lambda: h.pwrite(bytes(512), size))
refused(errno.EINVAL, lambda: h.trim(512, size))
refused(errno.EINVAL, lambda: h.pread(512, 0, 0x4000))
refused(errno.EINVAL, lambda: h.block_status(512, 0, lambda *a: 0))
assert len(h.pread(512, 0)) == 512
)");
}

TEST_F(ClientsOf, NbdshKeepsManyRequestsGoing) {
  if (!have_nbdsh()) GTEST_SKIP() << "there is no nbdsh";
  nbdsh(R"(
import random
h.connect_uri(uri)
random.seed(1)
model = bytearray(h.pread(1 << 20, 0))
for batch in range(20):
    blocks = random.sample(range(2048), 64)
    buffers = []
    for block in blocks:
        data = random.randbytes(512)
        model[block * 512:block * 512 + 512] = data
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), block * 512, lambda error: 1)
    while h.aio_in_flight() > 0:
        h.poll(-1)
assert h.pread(1 << 20, 0) == model
)");
}

TEST_F(ClientsOf, QemuImgConvertsComparesAndMaps) {
  REQUIRE_COMMAND("qemu-img");
  const std::string path = disk_.dir.file("copy.raw");
  qcowkit::test::qemu_img({"convert", "-f", "raw", "-O", "raw", disk_.uri(), path});
  EXPECT_EQ(qcowkit::test::read_file(path), content_of(*disk_.image));
  qcowkit::test::qemu_img({"compare", "-f", "raw", "-F", "raw", path, disk_.uri()});
  ServedDisk target(memory_image("qcow2", kSize));
  qcowkit::test::qemu_img({"convert", "-n", "-f", "raw", "-O", "raw", path, target.uri()});
  EXPECT_EQ(content_of(*target.image), content_of(*disk_.image));
  const json map =
      json::parse(qcowkit::test::qemu_img({"map", "--output=json", "-f", "raw", disk_.uri()}));
  ASSERT_EQ(map.size(), 3u);
  EXPECT_EQ(map[1]["length"], kSize - 4 * kCluster);
  EXPECT_EQ(map[1]["zero"], true);
}

TEST_F(ClientsOf, QemuIoReadsAndWrites) {
  REQUIRE_COMMAND("qemu-io");
  qcowkit::test::qemu_io(
      disk_.uri(),
      {"write -P 7 1M 3M", "read -P 7 1M 3M", "write -z 1M 64k", "read -P 0 1M 64k",
       "write -zu 2M 64k", "read -P 0 2M 64k", "discard 3M 64k", "flush", "write -f -P 8 1000k 33k",
       "aio_write -P 9 0 64k", "aio_flush", "read -P 9 0 64k"},
      "raw");
  EXPECT_EQ(content_of(*disk_.image)[1000 << 10], std::byte{8});
}

TEST_F(ClientsOf, MapIsWhatTheReferencesServerTells) {
  REQUIRE_COMMAND("qemu-nbd");
  REQUIRE_COMMAND("nbdinfo");
  const std::string path = disk_.dir.file("disk.qcow2");
  qcowkit::test::qemu_img({"create", "-q", "-f", "qcow2", path, "4M"});
  qcowkit::test::qemu_io(path, {"write 0 100k", "write -z 1M 128k", "write 2M 64k",
                                "write -z 2M 64k", "discard 64k 64k", "write -c 3M 64k"});
  const auto ask = [&](const std::string& uri, const std::string& context) {
    return succeed({"nbdinfo", "--map=" + context, uri}).out;
  };
  OpenOptions open;
  NbdExport disk;
  disk.allocation_depth = true;
  const ServedDisk ours(Image::open(path, open), disk);
  for (const std::string context : {"base:allocation", "qemu:allocation-depth"}) {
    const CommandResult theirs = run({"nbdinfo", "--map=" + context, "--", "[", "qemu-nbd", "-r",
                                      "-A", "-f", "qcow2", path, "]"});
    ASSERT_TRUE(theirs.ok()) << theirs.err;
    EXPECT_EQ(ask(ours.uri(), context), theirs.out) << context;
  }
}

TEST_F(ClientsOf, FioVerifiesWhatItWrites) {
  REQUIRE_COMMAND("fio");
  if (run({"fio", "--enghelp"}).out.find("nbd") == std::string::npos) {
    GTEST_SKIP() << "this fio has no NBD engine";
  }
  succeed({"fio", "--name=verify", "--ioengine=nbd", "--uri=" + disk_.uri(), "--rw=randwrite",
           "--bsrange=512-64k", "--blockalign=512", "--iodepth=32", "--size=4M", "--io_size=4M",
           "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0",
           "--randseed=1"});
}

}  // namespace
}  // namespace qcowkit::nbd::test
