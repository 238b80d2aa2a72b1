// qcow bitmap, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class Bitmap : public SideBySide {
 protected:
  void expect_done(Words arguments, const std::string& name = "a.qcow2") const {
    arguments.insert(arguments.begin(), "bitmap");
    expect_same_success(arguments);
    expect_same_image(name);
  }
  void expect_refused(Words arguments) const {
    arguments.insert(arguments.begin(), "bitmap");
    expect_same_failure(arguments);
  }
  /// All bitmaps of both images have the same bits.
  void expect_same_bits(const std::string& name) const {
    // Equal bits of equal disks: the reference makes equal files of them.
    for (const std::string directory : {"ours", "reference"}) {
      const CommandResult result =
          run_in(directory, {"qemu-img", "convert", "--bitmaps", "-O", "qcow2", name, "bits"});
      ASSERT_TRUE(result.ok()) << result.err;
    }
    EXPECT_EQ(read_file("ours/bits"), read_file("reference/bits"));
  }
};

TEST_F(Bitmap, ActionsMatch) {
  given_image("a.qcow2", "10M");
  for (const Words& words :
       {Words{"--add", "a.qcow2", "b0"},
        Words{"--clear", "a.qcow2", "b0"},
        Words{"--disable", "a.qcow2", "b0"},
        Words{"--disable", "a.qcow2", "b0"},
        Words{"--enable", "a.qcow2", "b0"},
        Words{"--add", "--disable", "a.qcow2", "b1"},
        Words{"--add", "-g", "128k", "a.qcow2", "b2"},
        Words{"--add", "-g", "2G", "a.qcow2", "b3"},
        Words{"--add", "-g", "0", "a.qcow2", "b4"},
        Words{"--add", "--granularity=512", "a.qcow2", "b5"},
        Words{"--add", "-g", "1k", "-g", "64k", "a.qcow2", "b6"},
        Words{"--merge", "b1", "a.qcow2", "b0"},
        Words{"--merge", "b0", "a.qcow2", "b0"},
        Words{"--add", "--enable", "--disable", "--clear", "a.qcow2", "b7"},
        Words{"--remove", "--add", "a.qcow2", "b7"},
        Words{"--add", "--remove", "a.qcow2", "b8"},
        Words{"--remove", "a.qcow2", "b2"},
        Words{"--add", "-f", "qcow2", "a.qcow2", "b9"},
        Words{"--add", "--image-opts", "driver=qcow2,file.filename=a.qcow2", "b10"},
        Words{"--add", "a.qcow2", std::string(1023, 'n')}}) {
    expect_done(words);
  }
}

TEST_F(Bitmap, DirtyBitsAreMergedAndCleared) {
  given_image("a.qcow2", "4M");
  given("a.qcow2", {"bitmap", "--add", "-g", "4k", "a.qcow2", "fine"});
  given_writes("a.qcow2", {"write -P 1 0 12k", "write -P 2 2M 128k"});
  given("a.qcow2", {"bitmap", "--disable", "a.qcow2", "fine"});
  given("a.qcow2", {"bitmap", "--add", "a.qcow2", "coarse"});
  given_writes("a.qcow2", {"write -P 3 3M 64k"});
  expect_done({"--merge", "fine", "a.qcow2", "coarse"});
  expect_same_bits("a.qcow2");
  expect_done({"--add", "--merge", "coarse", "--merge", "fine", "a.qcow2", "sum"});
  expect_same_bits("a.qcow2");
  expect_done({"--clear", "a.qcow2", "fine"});
  expect_same_bits("a.qcow2");

  given_image("b.qcow2", "4M");
  expect_done({"--add", "--merge", "coarse", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2", "other"},
              "b.qcow2");
  expect_same_bits("b.qcow2");
}

TEST_F(Bitmap, UnknownBitmapsAndBadOnesAreRefused) {
  given_image("a.qcow2", "10M");
  given_image("b.qcow2", "5M");
  given("a.qcow2", {"bitmap", "--add", "a.qcow2", "b0"});
  given("b.qcow2", {"bitmap", "--add", "b.qcow2", "other"});
  for (const Words& words :
       {Words{"--add", "a.qcow2", "b0"}, Words{"--remove", "a.qcow2", "x"},
        Words{"--clear", "a.qcow2", "x"}, Words{"--enable", "a.qcow2", "x"},
        Words{"--disable", "a.qcow2", "x"}, Words{"--merge", "x", "a.qcow2", "b0"},
        Words{"--merge", "b0", "a.qcow2", "x"}, Words{"--add", "-g", "100", "a.qcow2", "x"},
        Words{"--add", "-g", "256", "a.qcow2", "x"}, Words{"--add", "-g", "4G", "a.qcow2", "x"},
        Words{"--add", "a.qcow2", ""},
        Words{"--merge", "other", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2", "b0"},
        Words{"--merge", "b0", "-b", "none", "-F", "qcow2", "a.qcow2", "b0"}}) {
    expect_refused(words);
    expect_same_image("a.qcow2");
  }
  EXPECT_EQ(expect_same_outcome({"bitmap", "--add", "a.qcow2", std::string(1024, 'n')}).exit_code,
            1);
}

TEST_F(Bitmap, WhatWasDoneBeforeAFailureStaysDone) {
  given_image("a.qcow2", "10M");
  expect_refused({"--add", "--merge", "none", "a.qcow2", "b0"});
  expect_same_image("a.qcow2");
}

TEST_F(Bitmap, InconsistentBitmapCanOnlyBeRemoved) {
  given_image("a.qcow2", "10M");
  given("a.qcow2", {"bitmap", "--add", "a.qcow2", "b0"});
  run({"qemu-io", "-c", "write 0 64k", "-c", "abort", file("reference/a.qcow2")});
  given_file("a.qcow2", read_file("reference/a.qcow2"));
  for (const std::string action : {"--clear", "--enable", "--disable", "--merge=b0", "--add"}) {
    EXPECT_EQ(expect_same_outcome({"bitmap", action, "a.qcow2", "b0"}).exit_code, 1) << action;
  }
  expect_done({"--remove", "a.qcow2", "b0"});
}

TEST_F(Bitmap, ImagesWithoutBitmapsAreRefused) {
  given_file("a.raw", std::string(65536, 'x'));
  given_image("old.qcow2", "1M", {"-o", "compat=0.10"});
  expect_refused({"--remove", "a.raw", "x"});
  expect_refused({"--clear", "-f", "raw", "a.raw", "x"});
  // The reference tells of a node that it made up.
  EXPECT_EQ(expect_same_outcome({"bitmap", "--add", "a.raw", "x"}).exit_code, 1);
  EXPECT_EQ(expect_same_outcome({"bitmap", "--add", "old.qcow2", "x"}).exit_code, 1);
}

TEST_F(Bitmap, BadArgumentsAreRefused) {
  given_image("a.qcow2", "10M");
  given("a.qcow2", {"bitmap", "--add", "a.qcow2", "b0"});
  for (const Words& words :
       {Words{}, Words{"a.qcow2"}, Words{"a.qcow2", "b0"}, Words{"--add", "a.qcow2"},
        Words{"--add", "a.qcow2", "x", "y"}, Words{"--add", "none", "x"},
        Words{"--clear", "-g", "64k", "a.qcow2", "b0"},
        Words{"--add", "--merge", "b0", "-F", "qcow2", "a.qcow2", "x"},
        Words{"--add", "-b", "a.qcow2", "a.qcow2", "x"}, Words{"--nonsense", "a.qcow2", "x"},
        Words{"--add", "-f", "nonsense", "a.qcow2", "x"}, Words{"--add", "a.qcow2", "x", "-g"},
        Words{"--add", "--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=a.qcow2", "x"},
        Words{"--add", "--object", "nonsense,id=x", "a.qcow2", "x"}}) {
    expect_refused(words);
  }
  for (const std::string granularity : {"x", "-1", "", "9999999999E"}) {
    const Words words = {"bitmap", "--add", "-g", granularity, "a.qcow2", "x"};
    EXPECT_EQ(expect_same_outcome(words).exit_code, 1) << granularity;
  }
}

}  // namespace
}  // namespace qcowkit::test
