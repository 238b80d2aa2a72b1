// open, close, reopen, temporary overlays and copy-on-read.
#include "tests/cli/io/io_side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class IoOpen : public IoSideBySide {
 protected:
  void SetUp() override {
    IoSideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "1M");
    given_writes("a.qcow2", {"write -P 1 0 256k"});
    given_file("a.raw", std::string(1 << 20, '\0'));
    given("o.qcow2",
          {"create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "o.qcow2", "2M"});
  }
};

TEST_F(IoOpen, OptionsOfOpenHaveTheSameEffect) {
  for (const std::string words : {"-r a.qcow2",
                                  "-s a.qcow2",
                                  "-C a.qcow2",
                                  "-n a.qcow2",
                                  "-k a.qcow2",
                                  "-nk a.qcow2",
                                  "-U a.qcow2",
                                  "-rU a.qcow2",
                                  "-t none a.qcow2",
                                  "-t xx a.qcow2",
                                  "-d unmap a.qcow2",
                                  "-d xx a.qcow2",
                                  "-i native a.qcow2",
                                  "-i xx a.qcow2",
                                  "-i threads a.qcow2",
                                  "-o driver=qcow2 a.qcow2",
                                  "-o x=y a.qcow2",
                                  "-o file.filename=a.qcow2",
                                  "-o driver=qcow2,file.filename=a.qcow2",
                                  "-o driver=qcow2",
                                  "-o read-only=on a.qcow2",
                                  "-o read-only=on -r a.qcow2",
                                  "-o driver=qcow2 -o file.filename=a.qcow2",
                                  "-o",
                                  "-X",
                                  "a b",
                                  "no-such-file",
                                  "''",
                                  "-o foo",
                                  "-o nofoo",
                                  "-o foo,bar a.qcow2",
                                  "-o driver=raw,file.filename=a.qcow2 a.qcow2",
                                  "-o help a.qcow2",
                                  "-r",
                                  "-rC a.qcow2",
                                  "-sr a.qcow2",
                                  "blkdebug::a.qcow2",
                                  "-o force-share=on a.qcow2",
                                  "-o cache.direct=on a.qcow2",
                                  "-m a.qcow2",
                                  "-f raw a.qcow2",
                                  "-q a.qcow2",
                                  "-o auto-read-only=on -r a.qcow2",
                                  "-o lazy-refcounts=x a.qcow2",
                                  "-o file.locking=off a.qcow2",
                                  "-o driver=qcow2,file.driver=file a.qcow2",
                                  "-o lazy-refcounts=on a.qcow2",
                                  "json:{}",
                                  "a.raw",
                                  "-s a.raw",
                                  "-o driver=raw a.raw",
                                  "o.qcow2",
                                  "-r o.qcow2",
                                  "-o driver=file,filename=a.raw",
                                  "-o driver=nonsense a.qcow2",
                                  "-o discard=maybe a.qcow2",
                                  "-o detect-zeroes=on a.qcow2",
                                  "-o overlap-check=x a.qcow2",
                                  "-o l2-cache-size=x a.qcow2"}) {
    expect_same_commands({std::string("open ") + words, "length", "write -P 1 512k 1k", "info",
                          "map", "close", "open a.qcow2", "read -v 512k 16"},
                         "");
  }
}

TEST_F(IoOpen, OneImageIsOpenAtATime) {
  expect_same_commands({"open a.qcow2", "length", "close", "length", "close", "open no-such-file",
                        "length", "open o.qcow2", "length"},
                       "a.qcow2");
}

TEST_F(IoOpen, ReopenChangesWhatItIsAsked) {
  for (const std::string words : {"",
                                  "-r",
                                  "-w",
                                  "-rw",
                                  "-r -w",
                                  "-c none",
                                  "-c xx",
                                  "-c writeback",
                                  "-c none -c unsafe",
                                  "-c writethrough",
                                  "-o lazy-refcounts=on",
                                  "-o x=y",
                                  "-o driver=raw",
                                  "-o driver=qcow2",
                                  "x",
                                  "-X",
                                  "-o",
                                  "-r -o read-only=on",
                                  "-w -o read-only=on",
                                  "-c none -o cache.direct=on",
                                  "-o cache.direct=on",
                                  "-o l2-cache-size=x",
                                  "-o l2-cache-size=1M",
                                  "-o backing=x",
                                  "-o file.filename=b.qcow2",
                                  "-o file.filename=a.qcow2",
                                  "-o file.driver=file",
                                  "-o file.driver=raw",
                                  "-o file.locking=off",
                                  "-o file=x",
                                  "-o overlap-check=x",
                                  "-o overlap-check=none",
                                  "-o overlap-check.main-header=on",
                                  "-o discard=ignore",
                                  "-o discard=maybe",
                                  "-o detect-zeroes=on",
                                  "-o detect-zeroes=maybe",
                                  "-o lazy-refcounts=on -o overlap-check=all",
                                  "-o cache-size=x",
                                  "-o filename=x",
                                  "-o node-name=x",
                                  "-o x",
                                  "-o nox",
                                  "-o pass-discard-request=off",
                                  "-o cache-clean-interval=5",
                                  "-o l2-cache-entry-size=4k",
                                  "-o data-file=x",
                                  "-o force-share=on",
                                  "-o auto-read-only=on",
                                  "-o size=5",
                                  "-o cache.x=y"}) {
    expect_same_commands({std::string("reopen ") + words, "length", "write -P 7 0 1k", "map"},
                         "a.qcow2");
  }
  expect_same_image("a.qcow2");
  for (const std::string words : {"-o lazy-refcounts=on", "-o x=y", "-o driver=raw", "-r"}) {
    expect_same_commands({std::string("reopen ") + words, "write -P 7 0 1k"}, "a.raw",
                         {"-f", "raw"});
  }
}

TEST_F(IoOpen, ReopenedImagesAreReadOnlyOrNot) {
  const Words commands = {
      "reopen -r",  "write 0 1k",        "reopen",         "write 0 1k",      "reopen -w",
      "write 0 1k", "read -P 0xcd 0 1k", "reopen -c none", "write -P 8 0 1k", "read -P 8 0 1k"};
  expect_same_commands(commands, "a.qcow2");
  expect_same_commands(commands, "a.raw", {"-f", "raw"});
  expect_same_commands(commands, "o.qcow2");
  expect_same_commands({"reopen -w", "write 0 1k"}, "a.qcow2", {"-r"});
  expect_same_content("a.qcow2");
}

TEST_F(IoOpen, RequestsGoOnWhenAnImageIsReopened) {
  expect_same_commands({"aio_write -P 5 0 64k", "reopen -r", "read -P 5 0 64k", "length"},
                       "a.qcow2");
}

TEST_F(IoOpen, TemporaryOverlayKeepsWritesFromTheImage) {
  for (const std::string image : {"a.qcow2", "o.qcow2", "a.raw"}) {
    const std::string before = read_file("ours/" + image);
    for (const Words& options : {Words{"-s"}, Words{"-sn"}, Words{"-s", "-t", "unsafe"},
                                 Words{"-s", "-r"}, Words{"-sC"}}) {
      expect_same_commands({"write -P 7 0 64k", "read -P 7 0 64k", "map", "alloc 0 1M", "info",
                            "truncate 4M", "length", "flush", "map"},
                           image, options);
    }
    EXPECT_EQ(read_file("ours/" + image), before) << image;
  }
  expect_same_commands({"length"}, "no-such-file", {"-s"});
}

TEST_F(IoOpen, TemporaryOverlayIsReopened) {
  const CommandResult result =
      qcow({"io", "-s", "-c", "write -q -P 7 0 64k", "-c", "reopen -r", "-c", "read -q -P 7 0 64k",
            "-c", "write 0 1k", file("ours/a.qcow2")});
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "qcow: Block node is read-only\n");
}

TEST_F(IoOpen, TemporaryOverlayLeavesNoFileBehind) {
  std::filesystem::create_directory(file("tmp"));
  const CommandResult result =
      run({"sh", "-c", "TMPDIR=\"$1\" exec \"$0\" io -s -c 'write 0 64k' \"$2\"", test::tool(),
           file("tmp"), file("ours/a.qcow2")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::is_empty(file("tmp")));
  const CommandResult failure =
      run({"sh", "-c", "TMPDIR=\"$1\" exec \"$0\" io -s \"$2\"", test::tool(),
           file("no-such-directory"), file("ours/a.qcow2")});
  EXPECT_EQ(failure.exit_code, 1);
  EXPECT_NE(failure.err.find("No such file or directory"), std::string::npos) << failure.err;
}

TEST_F(IoOpen, WhatIsReadFromTheBackingFileIsKept) {
  expect_same_commands({"read 60k 10k", "readv 200k 1 1", "map", "aio_read 130k 1", "aio_flush",
                        "map", "write 300k 10", "read -P 1 0 256k", "map", "info"},
                       "o.qcow2", {"-C"});
  expect_same_content("o.qcow2");
  expect_same_image("o.qcow2");
  expect_same_commands({"read 0 1k", "map"}, "a.raw", {"-C", "-f", "raw"});
}

}  // namespace
}  // namespace qcowkit::test
