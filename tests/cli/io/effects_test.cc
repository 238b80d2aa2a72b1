// What the commands do to images.
#include "tests/cli/io/io_side_by_side.h"

namespace qcowkit::test {
namespace {

class IoEffects : public IoSideBySide {
 protected:
  /// Both say the same and leave the same image behind.
  void expect_same_effect(const Words& commands, const std::string& image,
                          const Words& options = {}) const {
    expect_same_commands(commands, image, options);
    expect_same_content(image);
    expect_same_image(image);
  }
};

TEST_F(IoEffects, WritesAndReadsMeetInTheMiddle) {
  given_image("a.qcow2", "1M");
  expect_same_effect({"write -P 3 1000 3000", "write -z 64k 64k", "write -P 9 100k 1k", "map",
                      "alloc 0 1M", "read -v 990 64", "readv -v 990 16 16", "read -P 3 1000 3000",
                      "writev -P 5 200k 1k 2k 512", "read -P 5 200k 3584", "write -f 300k 1",
                      "aio_write -P 6 400k 1k", "aio_flush", "read -P 6 400k 1k", "info"},
                     "a.qcow2");
}

TEST_F(IoEffects, PatternFilesAreRepeated) {
  given_image("a.qcow2", "1M");
  given_file("pattern", std::string(" !~\x7f\x80 aZ09\t\n", 12));
  given_file("large", std::string(70000, 'l') + std::string(70000, 'm'));
  expect_same_effect(
      {"write -s pattern 0 100", "read -v 0 100", "write -s large 64k 128k", "read -v 130k 8k",
       "write -s large -c 512k 64k", "write -s pattern -b 0 512", "read -bv 0 512"},
      "a.qcow2");
}

TEST_F(IoEffects, CompressedClustersNeedAPlace) {
  given_image("a.qcow2", "1000k");
  expect_same_effect({"write -c -P 5 128k 64k", "write -c -P 6 128k 64k",
                      "write -c 128k 128k",     "map",
                      "read -P 5 128k 64k",     "write -P 9 256k 64k",
                      "write -c 256k 64k",      "write -z 256k 64k",
                      "write -c 256k 64k",      "write -zu 256k 64k",
                      "write -c 256k 64k",      "write -c 960k 40k",
                      "write -c 960k 64k",      "write -c 896k 104k",
                      "write -c 960k 4k",       "write -c 0 0",
                      "write -c 1000k 0",       "write -c 32k 64k",
                      "write -c 0 96k",         "map"},
                     "a.qcow2");
}

TEST_F(IoEffects, ZeroesTakeOrLeaveTheirSpace) {
  given_image("a.qcow2", "1M");
  expect_same_effect({"write 0 512k", "write -z 0 64k", "write -zu 64k 64k", "write -zn 128k 64k",
                      "write -zn 200k 64k", "write -zf 256k 64k", "write -znuf 320k 64k",
                      "aio_write -z 384k 1k", "aio_flush", "map"},
                     "a.qcow2");
}

TEST_F(IoEffects, OverlaysHideTheirBackingFile) {
  given_image("base.qcow2", "1M");
  given_writes("base.qcow2", {"write -P 1 0 256k"});
  given("overlay.qcow2",
        {"create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "overlay.qcow2", "2M"});
  expect_same_effect({"write 128k 64k", "map", "alloc 0 256k", "alloc 128k 128k", "read -P 1 0 64k",
                      "discard 128k 64k", "map", "write -z 0 64k", "write -zu 64k 64k", "map",
                      "write -c 1M 64k", "truncate 4M", "map", "length", "info"},
                     "overlay.qcow2");
}

TEST_F(IoEffects, DisksAreResized) {
  given_image("a.qcow2", "1000k");
  expect_same_effect(
      {"write -P 1 0 1000k", "truncate 1M", "map", "truncate 512k", "map", "truncate 1000",
       "length", "truncate 2M", "read -P 0 512k 1536k", "truncate -m metadata 3M",
       "truncate -m falloc 4M", "truncate -m full 5M", "map", "length"},
      "a.qcow2");
  given_file("a.raw", std::string(1000, 'x'));
  expect_same_commands(
      {"length", "map", "read -v 990 34", "write -P 7 1000 24", "write 1020 5", "read 1024 1",
       "truncate 2000", "length", "truncate 3M", "length", "map", "alloc 0 4M",
       "truncate -m full 4M", "truncate -m metadata 5M", "discard 0 1k"},
      "a.raw", {"-f", "raw"});
  EXPECT_EQ(read_file("ours/a.raw"), read_file("reference/a.raw"));
}

TEST_F(IoEffects, MachineStateLiesBehindTheDisk) {
  given_image("a.qcow2", "1M");
  expect_same_effect({"write -b 0 128k", "write -bP 4 1M 512", "write -b 0 0", "read -b 0 0",
                      "read -bP 4 1M 512", "read -bP 0xcd 0 128k", "read -bP 0 128k 512",
                      "read -bP 0 1G 512", "write -bc 0 64k", "read -b 100 512", "write -b 0 100"},
                     "a.qcow2");
  given_file("a.raw", std::string(65536, 'x'));
  expect_same_commands({"write -b 0 512", "read -b 0 512", "write -c 0 64k", "write -c 1M 64k",
                        "write -c 0 0", "write -b 0 0"},
                       "a.raw", {"-f", "raw"});
}

TEST_F(IoEffects, OldFormatDoesWhatItCan) {
  given("a.qcow", {"create", "-q", "-f", "qcow", "a.qcow", "1000k"});
  expect_same_commands(
      {"write -c 996k 4k", "write -c 8k 4k", "write -c 0 64k", "write -c 0 8k", "write -b 0 512",
       "read -b 0 512", "write -zn 16k 4k", "discard 0 4k", "truncate 2M", "map", "alloc 0 64k",
       "info", "write -P 7 10k 100", "read -P 7 10k 100"},
      "a.qcow");
  expect_same_content("a.qcow");
}

TEST_F(IoEffects, ReadOnlyImagesAreNotChanged) {
  given_image("a.qcow2", "1M");
  const std::string before = read_file("ours/a.qcow2");
  expect_same_commands({"write 0 1k", "write -z 0 1k", "write -c 0 64k", "write -b 0 512",
                        "writev 0 1k", "aio_write 0 1k", "discard 0 64k", "truncate 2M", "flush",
                        "aio_flush", "read 0 1k", "write x", "write x 1", "write -X 0 1"},
                       "a.qcow2", {"-r"});
  EXPECT_EQ(read_file("ours/a.qcow2"), before);
}

TEST_F(IoEffects, EveryCacheModeStoresWhatWasWritten) {
  for (const std::string mode :
       {"none", "writeback", "writethrough", "directsync", "unsafe", "off"}) {
    given_image("a.qcow2", "1M");
    expect_same_effect({"write -P 4 0 64k", "flush", "write -P 5 100 100", "read -P 5 100 100"},
                       "a.qcow2", {"-t", mode});
    expect_same_commands({"open -t " + mode + " a.qcow2", "write -P 6 200k 100"}, "");
    expect_same_content("a.qcow2");
  }
}

}  // namespace
}  // namespace qcowkit::test
