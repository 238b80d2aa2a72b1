// qcow snapshot, side by side with the reference.
#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class Snapshot : public SideBySide {
 protected:
  /// Two snapshots and a different present.
  void given_snapshots() const {
    given_image("a.qcow2", "1M");
    given_writes("a.qcow2", {"write -P 1 0 128k"});
    given("a.qcow2", {"snapshot", "-c", "first", "a.qcow2"});
    given_writes("a.qcow2", {"write -P 2 64k 128k"});
    given("a.qcow2", {"snapshot", "-c", "second", "a.qcow2"});
    given_writes("a.qcow2", {"write -P 3 512k 64k"});
  }
};

TEST_F(Snapshot, SnapshotsAreMadeListedAppliedAndDeleted) {
  given_image("a.qcow2", "1M");
  expect_same_success({"snapshot", "-l", "a.qcow2"});
  given_writes("a.qcow2", {"write -P 1 0 128k"});
  for (const Words& words :
       {Words{"-c", "first"}, Words{"-q", "-c", "second"}, Words{"-c", "first"}, Words{"-c", "1"},
        Words{"-c", ""}, Words{"-l"}, Words{"-a", "first"}, Words{"-a", "2"}, Words{"-d", "1"},
        Words{"-l"}, Words{"-d", "first"}, Words{"-q", "-l"}, Words{"-c", "a new one"},
        Words{"-l", "-U"}, Words{"-d", "first"}, Words{"-d", ""}, Words{"-l"}, Words{}}) {
    Words arguments = {"snapshot"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    arguments.push_back("a.qcow2");
    expect_same_success(arguments);
    expect_same_image("a.qcow2");
    expect_same_content("a.qcow2");
  }
}

TEST_F(Snapshot, AppliedSnapshotBringsItsContentAndSizeBack) {
  given_snapshots();
  for (const std::string which : {"first", "second", "1", "2"}) {
    expect_same_success({"snapshot", "-a", which, "a.qcow2"});
    expect_same_image("a.qcow2");
    expect_same_content("a.qcow2");
  }
  given("a.qcow2", {"resize", "a.qcow2", "3M"});
  expect_same_success({"snapshot", "-a", "first", "a.qcow2"});
  expect_same_image("a.qcow2");
  expect_same_content("a.qcow2");
}

TEST_F(Snapshot, DeletingKeepsTheOthersContent) {
  given_snapshots();
  expect_same_success({"snapshot", "-d", "first", "a.qcow2"});
  expect_same_image("a.qcow2");
  expect_same_content("a.qcow2");
  expect_same_success({"snapshot", "-a", "second", "a.qcow2"});
  expect_same_content("a.qcow2");
  expect_same_success({"snapshot", "-d", "second", "a.qcow2"});
  expect_same_image("a.qcow2");
}

TEST_F(Snapshot, UnknownSnapshotsAreRefused) {
  given_snapshots();
  for (const std::string which : {"third", "", "3", "First"}) {
    expect_same_failure({"snapshot", "-a", which, "a.qcow2"});
    expect_same_failure({"snapshot", "-d", which, "a.qcow2"});
  }
  expect_same_failure({"snapshot", "-d", "1", "a.qcow2"});  // an id
  expect_same_success({"snapshot", "-l", "a.qcow2"});
}

TEST_F(Snapshot, FormatsWithoutSnapshotsHaveNone) {
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{"-l"}, Words{"-c", "x"}, Words{"-a", "x"}, Words{"-d", "x"}, Words{}}) {
    Words arguments = {"snapshot"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    arguments.push_back("a.raw");
    // The reference opens the image twice to apply a snapshot, and warns twice.
    if (words == Words{"-a", "x"}) {
      expect_same_outcome(arguments);
    } else {
      expect_same_words(arguments);
    }
  }
  expect_same_words({"snapshot", "--image-opts", "-c", "x", "driver=raw,file.filename=a.raw"});
}

TEST_F(Snapshot, BadArgumentsAreRefused) {
  given_image("a.qcow2", "1M");
  for (const Words& words :
       {Words{}, Words{"-l"}, Words{"-l", "a.qcow2", "b"}, Words{"-l", "-c", "x", "a.qcow2"},
        Words{"-c", "x", "-l", "a.qcow2"}, Words{"-a", "x", "-d", "x", "a.qcow2"},
        Words{"-l", "-l", "a.qcow2"}, Words{"-c", "x", "-c", "y", "a.qcow2"}, Words{"-l", "none"},
        Words{"-c", "x", "none"}, Words{"a.qcow2", "-c"}, Words{"-l", "--nonsense", "a.qcow2"},
        Words{"-U", "-c", "x", "a.qcow2"}, Words{"-l", "--object", "nonsense,id=x", "a.qcow2"}}) {
    Words arguments = {"snapshot"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    expect_same_failure(arguments);
  }
}

TEST_F(Snapshot, ImageInUseIsRefusedUnlessShared) {
  given_snapshots();
  for (const std::string directory : {"reference", "ours"}) {
    BackgroundCommand writer({"qemu-io", file(directory + "/a.qcow2")});
    writer.send_line("write 0 64k");
    ASSERT_TRUE(writer.wait_for("wrote 65536"));
    const std::string tool = directory == "ours" ? test::tool() : "qemu-img";
    const auto snapshot = [&](const Words& options) {
      Words words = {tool, "snapshot"};
      words.insert(words.end(), options.begin(), options.end());
      words.push_back("a.qcow2");
      return run_in(directory, words).exit_code;
    };
    EXPECT_EQ(snapshot({"-l"}), 1);
    EXPECT_EQ(snapshot({"-U", "-l"}), 0);
    EXPECT_EQ(snapshot({"-c", "x"}), 1);
    writer.send_line("quit");
    writer.finish();
  }
}

}  // namespace
}  // namespace qcowkit::test
