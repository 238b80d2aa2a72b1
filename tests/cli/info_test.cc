// qcow info, side by side with the reference.
#include "base/endian.h"
#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Info : public Conformance {
 protected:
  void expect_same_info(Words arguments) const {
    arguments.insert(arguments.begin(), "info");
    expect_same(arguments);
    arguments.push_back("--output=json");
    expect_same(arguments);
  }
  void expect_same_info(const std::string& name) const { expect_same_info(Words{file(name)}); }
};

TEST_F(Info, Qcow2VariantsMatch) {
  const Words lists = {
      "compat=1.1",
      "compat=0.10",
      "cluster_size=2M",
      "refcount_bits=64,lazy_refcounts=on",
      "extended_l2=on,compression_type=zstd",
      "preallocation=full",
  };
  for (const std::string& list : lists) {
    create("a.qcow2", "10M", {"-o", list});
    expect_same_info("a.qcow2");
  }
}

TEST_F(Info, RawImagesOfAllSizesMatch) {
  for (const std::uintmax_t size : {0ull, 1ull, 512ull, 1000ull, 1023ull, 1025ull, 1048575ull,
                                    1500000ull, 10240000ull, 1000000000ull, 1234567890123ull}) {
    write_file("a.raw", "");
    std::filesystem::resize_file(file("a.raw"), size);
    expect_same_info("a.raw");
  }
}

TEST_F(Info, SnapshotsAndBitmapsMatch) {
  create("a.qcow2", "10M");
  qemu_io("a.qcow2", {"write 0 1M"});
  qemu_img({"snapshot", "-c", "short", file("a.qcow2")});
  qemu_img({"snapshot", "-c", "a name that is longer than its column", file("a.qcow2")});
  qemu_img({"bitmap", "--add", file("a.qcow2"), "b0"});
  qemu_img({"bitmap", "--add", "--disable", "-g", "128k", file("a.qcow2"), "b1"});
  expect_same_info("a.qcow2");
}

// Older writers do not store the instruction count.
TEST_F(Info, SnapshotWithLittleExtraDataMatches) {
  create("a.qcow2", "10M");
  qemu_img({"snapshot", "-c", "name", file("a.qcow2")});
  const std::string image = read_file("a.qcow2");
  constexpr std::size_t kTableOffsetField = 64;
  const auto table =
      static_cast<std::streamoff>(load_big_endian<std::uint64_t>(image.data() + kTableOffsetField));
  // Fixed fields up to the length of the extra data, that data, the identifier and the name.
  std::string entry = image.substr(static_cast<std::size_t>(table), 40 + 24 + 5);
  ASSERT_EQ(entry.substr(64), "1name");
  entry.replace(24, 16, std::string_view("\0\1\2\3\4\5\6\7\0\1\2\3\0\0\0\x10", 16));
  entry.erase(56, 8);
  patch("a.qcow2", table, entry);
  expect_same_info("a.qcow2");
}

TEST_F(Info, InconsistentBitmapIsShownAsInUse) {
  create("a.qcow2", "10M");
  qemu_img({"bitmap", "--add", file("a.qcow2"), "b0"});
  run({"qemu-io", "-c", "write 0 64k", "-c", "abort", file("a.qcow2")});
  expect_same_info("a.qcow2");
}

TEST_F(Info, ChainsMatch) {
  std::filesystem::create_directory(directory_.path() / "sub");
  create("base.qcow2", "10M");
  create("middle.qcow2", "12M", {"-b", "base.qcow2", "-F", "qcow2"});
  create("sub/top.qcow2", "11M", {"-b", "../middle.qcow2", "-F", "qcow2"});
  create("absolute.qcow2", "10M", {"-b", file("base.qcow2"), "-F", "qcow2"});
  write_file("base.raw", std::string(4096, 'x'));
  create("on_raw.qcow2", "10M", {"-b", "base.raw", "-F", "raw"});
  for (const std::string name :
       {"base.qcow2", "middle.qcow2", "sub/top.qcow2", "absolute.qcow2", "on_raw.qcow2"}) {
    expect_same_info(name);
    expect_same_info(Words{"--backing-chain", file(name)});
    expect_same_info(Words{"--backing-chain", "-U", "-f", "qcow2", file(name)});
  }
}

TEST_F(Info, MissingBackingFileMattersOnlyForTheChain) {
  create("a.qcow2", "10M", {"-u", "-b", "none", "-F", "qcow2"});
  expect_same_info("a.qcow2");
  expect_same_info(Words{"--backing-chain", file("a.qcow2")});
}

TEST_F(Info, LoopOfBackingFilesIsRefused) {
  create("a.qcow2", "10M", {"-u", "-b", "b.qcow2", "-F", "qcow2"});
  create("b.qcow2", "10M", {"-u", "-b", "a.qcow2", "-F", "qcow2"});
  expect_same_info("a.qcow2");
  expect_same_info(Words{"--backing-chain", file("a.qcow2")});
}

TEST_F(Info, ExternalDataFileNeedNotBeThere) {
  create("a.qcow2", "10M", {"-o", "data_file=" + file("data.raw")});
  expect_same_info("a.qcow2");
  std::filesystem::remove(file("data.raw"));
  expect_same_info("a.qcow2");
  create("b.qcow2", "10M", {"-o", "data_file_raw=on,data_file=" + file("data.raw")});
  expect_same_info("b.qcow2");
}

TEST_F(Info, DirtyAndCorruptImagesAreDescribed) {
  create("dirty.qcow2", "10M", {"-o", "lazy_refcounts=on"});
  run({"qemu-io", "-c", "write 0 64k", "-c", "abort", file("dirty.qcow2")});
  expect_same_info("dirty.qcow2");
  EXPECT_NE(qcow({"info", file("dirty.qcow2")}).out.find("cleanly shut down: no"),
            std::string::npos);

  create("corrupt.qcow2", "10M");
  patch("corrupt.qcow2", 79, "\2");  // the incompatible feature bit "corrupt"
  expect_same_info("corrupt.qcow2");
  EXPECT_NE(qcow({"info", file("corrupt.qcow2")}).out.find("corrupt: true"), std::string::npos);
}

TEST_F(Info, NamesWithAnyBytesMatch) {
  for (const std::string name :
       {"a\"b", "a\tb\x01", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "bad\xff\xfe", "new\nline",
        "del\x7f", "back\\slash", "cut\xe2\x82", "cut\xe2\x82\xff", "sur\xed\xa0\x80", "a'<>&b",
        "\x0b\x0c\r\x08\x1b"}) {
    write_file(name, "x");
    expect_same_info(name);
  }
}

TEST_F(Info, FileNamesAndImageOptionsMatch) {
  create("a.qcow2", "10M");
  write_file("b,c.raw", "x");
  const std::string path = file("a.qcow2");
  expect_same_info(Words{"file:" + path});
  expect_same_info(Words{"--image-opts", "driver=qcow2,file.filename=" + path});
  expect_same_info(Words{R"(json:{"driver":"qcow2","file":{"filename":")" + path + R"("}})"});
  expect_same_info(Words{R"(json:{"driver":"qcow2","file.filename":")" + path + R"("})"});
  expect_same_info(Words{"--image-opts", "file.driver=file,driver=qcow2,file.filename=" + path});
  expect_same_info(Words{"--image-opts", "file.filename=" + path});
  expect_same_info(Words{"--image-opts", "driver=raw,file.filename=" + path});
  expect_same_info(Words{"--image-opts", "driver=file,filename=" + path});
  expect_same_info(Words{"--image-opts", "driver=raw,file.filename=" + file("b,,c.raw")});
}

TEST_F(Info, WhatCannotBeOpenedIsRefused) {
  create("a.qcow2", "10M");
  write_file("a.raw", "x");
  const std::string path = file("a.qcow2");
  for (const Words& arguments :
       {Words{}, Words{path, path}, Words{file("none")}, Words{directory_.path().string()},
        Words{"-f", "qcow2", file("a.raw")}, Words{"-f", "nonsense", path},
        Words{"--output=xml", path}, Words{"--output=", path}, Words{"unknown:" + path},
        Words{"--image-opts", "driver=nonsense,file.filename=" + path},
        Words{"--image-opts", "driver=qcow2,nonsense=1,file.filename=" + path},
        Words{"--image-opts", "driver=qcow2"}, Words{"--image-opts", "filename=" + path},
        Words{"--image-opts", path}, Words{"--image-opts", ""}, Words{"json:{"}, Words{"json:{}"},
        Words{"--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=" + path}}) {
    Words words = {"info"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(qcow(words).exit_code, 1) << joined(words);
    expect_same(words);
  }
}

TEST_F(Info, ImageInUseIsRefusedUnlessShared) {
  create("a.qcow2", "10M");
  BackgroundCommand writer({"qemu-io", file("a.qcow2")});
  writer.send_line("write 0 64k");
  ASSERT_TRUE(writer.wait_for("wrote 65536"));
  expect_same({"info", file("a.qcow2")});
  EXPECT_EQ(qcow({"info", file("a.qcow2")}).exit_code, 1);
  expect_same({"info", "-U", file("a.qcow2")});
  EXPECT_EQ(qcow({"info", "-U", file("a.qcow2")}).exit_code, 0);
  writer.send_line("quit");
  writer.finish();
}

TEST_F(Info, AChainThatComesBackUnderAnotherNameEnds) {
  for (const std::string backing : {"./a.qcow2", "link.qcow2"}) {
    const CommandResult made = qcow(
        {"create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", file("a.qcow2"), "1M"});
    ASSERT_TRUE(made.ok()) << made.err;
    if (backing == "link.qcow2") std::filesystem::create_symlink("a.qcow2", file("link.qcow2"));
    const CommandResult result = qcow({"info", "--backing-chain", file("a.qcow2")});
    EXPECT_EQ(result.exit_code, 1) << backing;
    EXPECT_NE(result.err.find("infinite loop"), std::string::npos) << result.err;
    EXPECT_LT(result.err.size(), 1000u) << "each round makes the name longer";
  }
}

}  // namespace
}  // namespace qcowkit::test
