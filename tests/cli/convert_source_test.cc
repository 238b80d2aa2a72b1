// qcow convert and measure: snapshots and bitmaps of the source, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class ConvertSource : public SideBySide {
 protected:
  /// A snapshot called "one", one called "two" and one called "1".
  void given_snapshots() const {
    given_image("a", "1M");
    for (const auto& [pattern, name] : {std::pair{"1", "one"}, {"2", "two"}, {"3", "1"}}) {
      given_writes("a", {std::string("write -P ") + pattern + " 0 64k"});
      given("a", {"snapshot", "-c", name, "a"});
    }
    given_writes("a", {"write -P 4 0 128k"});
  }
  void given_bitmaps() const {
    given_image("a", "4M");
    given("a", {"bitmap", "--add", "-g", "4k", "a", "fine"});
    given_writes("a", {"write -P 1 0 12k", "write -P 2 2M 128k"});
    given("a", {"bitmap", "--disable", "a", "fine"});
    given("a", {"bitmap", "--add", "a", "coarse"});
    given_writes("a", {"write -P 3 3M 64k"});
  }
};

TEST_F(ConvertSource, SnapshotsAreCopied) {
  given_snapshots();
  for (const std::string which : {"one", "two", "1", "2", "3", "snapshot.id=1", "snapshot.name=two",
                                  "snapshot.name=1", "snapshot.id=1,snapshot.name=one"}) {
    expect_same_success({"convert", "-l", which, "a", "out.raw"});
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw")) << which;
    expect_same_success({"convert", "-l", which, "-O", "qcow2", "-f", "qcow2", "a", "out"});
    expect_same_image("out");
    expect_same_content("out");
    expect_same_success({"measure", "-l", which, "-O", "qcow2", "a"});
    expect_same_success({"measure", "-l", which, "a"});
  }
}

// The reference copies as much of it as the present disk has.
TEST_F(ConvertSource, SnapshotOfALargerDiskIsCopiedWhole) {
  given_image("a", "1M");
  given_writes("a", {"write -P 7 0 1M"});
  given("a", {"snapshot", "-c", "large", "a"});
  given("a", {"resize", "--shrink", "a", "512k"});
  const CommandResult result = qcow({"convert", "-l", "large", file("ours/a"), file("out.raw")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_file("out.raw"), std::string(1 << 20, '\7'));
}

TEST_F(ConvertSource, UnknownSnapshotsAreRefused) {
  given_snapshots();
  given_file("a.raw", std::string(65536, 'x'));
  for (const std::string command : {"convert", "measure"}) {
    const auto refused = [&](const std::string& which, const std::string& name) {
      Words words = {command, "-l", which, name};
      if (command == "convert") words.push_back("out.raw");
      expect_same_failure(words);
    };
    for (const std::string which : {"four", "", "snapshot.id=9", "snapshot.id=", "snapshot.name=",
                                    "snapshot.id=1,snapshot.name=two"}) {
      refused(which, "a");
    }
    refused("one", "a.raw");
    Words words = {command, "-l", "snapshot.nonsense=1", "a"};
    if (command == "convert") words.push_back("out.raw");
    EXPECT_EQ(expect_same_outcome(words).exit_code, 1);
  }
  expect_same_failure({"convert", "-l", "one", "a", "a", "out.raw"});
  expect_same_failure({"convert", "-l", "one", "none", "out.raw"});
}

TEST_F(ConvertSource, BitmapsAreCopied) {
  given_bitmaps();
  expect_same_success({"convert", "--bitmaps", "-O", "qcow2", "a", "out"});
  expect_same_image("out");
  expect_same_content("out");
  // Equal bits of equal disks: the reference makes equal files of them.
  for (const std::string directory : {"ours", "reference"}) {
    const CommandResult result =
        run_in(directory, {"qemu-img", "convert", "--bitmaps", "-O", "qcow2", "out", "again"});
    ASSERT_TRUE(result.ok()) << result.err;
  }
  EXPECT_EQ(read_file("ours/again"), read_file("reference/again"));
  given_image("there", "4M");
  expect_same_success({"convert", "-n", "--bitmaps", "-O", "qcow2", "a", "there"});
  expect_same_image("there");
  EXPECT_EQ(
      expect_same_outcome({"convert", "-n", "--bitmaps", "-O", "qcow2", "a", "there"}).exit_code,
      1);
}

TEST_F(ConvertSource, BitmapsThatCannotBeCopiedAreRefused) {
  given_bitmaps();
  given_image("old", "1M", {"-o", "compat=0.10"});
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words : {Words{"--bitmaps", "-O", "raw", "a", "out"},
                             Words{"--bitmaps", "-O", "qcow2", "-o", "compat=0.10", "a", "out"},
                             Words{"--bitmaps", "-O", "qcow2", "a.raw", "out"},
                             Words{"--bitmaps", "-O", "qcow2", "old", "out"},
                             Words{"--bitmaps", "-O", "qcow2", "a", "a", "out"},
                             Words{"--skip-broken-bitmaps", "-O", "qcow2", "a", "out"},
                             Words{"--bitmaps", "-n", "-O", "qcow2", "a", "old"}}) {
    Words arguments = {"convert"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    EXPECT_EQ(expect_same_outcome(arguments).exit_code, 1) << joined(words);
  }
}

TEST_F(ConvertSource, BrokenBitmapsAreSkippedOnlyWhenAskedTo) {
  given_bitmaps();
  run({"qemu-io", "-c", "write 0 64k", "-c", "abort", file("reference/a")});
  given_file("a", read_file("reference/a"));
  given("a", {"bitmap", "--add", "a", "whole"});
  EXPECT_EQ(expect_same_outcome({"convert", "--bitmaps", "-O", "qcow2", "a", "out"}).exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(file("ours/out")));
  EXPECT_EQ(expect_same_outcome(
                {"convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", "a", "out"})
                .exit_code,
            0);
  expect_same_image("out");
}

TEST_F(ConvertSource, SizeOfBitmapsMatches) {
  given_bitmaps();
  expect_same_success({"measure", "-O", "qcow2", "a"});
  expect_same_success({"measure", "-O", "qcow2", "--output=json", "a"});
  expect_same_success({"measure", "-O", "raw", "a"});
  expect_same_success({"measure", "-O", "qcow2", "-o", "compat=0.10", "a"});
}

TEST_F(ConvertSource, OldFormatsAreWritten) {
  given_image("a", "1M");
  given_writes("a", {"write -P 1 0 100k", "write -z 512k 64k"});
  for (const Words& words : {Words{"-O", "qcow", "a", "out"}, Words{"-O", "qcow", "a", "a", "out"},
                             Words{"-O", "qcow", "-B", "a", "-F", "qcow2", "a", "out"}}) {
    Words arguments = {"convert"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    expect_same_success(arguments);
    expect_same_image("out");
    expect_same_content("out");
    expect_same_success({"convert", "-f", "qcow", "-O", "raw", "out", "out.raw"});
    EXPECT_EQ(read_file("ours/out.raw"), read_file("reference/out.raw"));
  }
  for (const Words& words : {Words{"-f", "qcow", "new", "1M"}, Words{"-f", "qcow", "new", "1000"},
                             Words{"-f", "qcow", "-b", "a", "-F", "qcow2", "new"}}) {
    Words arguments = {"create"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    expect_same_success(arguments);
    expect_same_image("new");
  }
  EXPECT_EQ(expect_same_outcome({"create", "-f", "qcow", "bad", "0"}).exit_code, 1);
  expect_same_failure({"create", "-f", "qcow", "-o", "preallocation=metadata", "bad", "1M"});
  expect_same_words({"check", "new"});
  expect_same_words({"map", "--output=json", "new"});
  expect_same_failure({"resize", "new", "2M"});
  expect_same_words({"snapshot", "-c", "x", "new"});
  expect_same_words({"amend", "-o", "size=1M", "new"});
  expect_same_words({"rebase", "-u", "-b", "a", "-F", "qcow2", "new"});
}

}  // namespace
}  // namespace qcowkit::test
