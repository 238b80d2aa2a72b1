// qcow commit, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

/// base <- mid <- top, with clusters of each, zeroes and a disk of 1 MiB.
class Commit : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    make_chain();
  }
  void make_chain(const std::string& base_options = "compat=1.1") const {
    given_image("base.qcow2", "1M", {"-o", base_options});
    given_writes("base.qcow2", {"write -P 1 0 256k"});
    given_image("mid.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
    given_writes("mid.qcow2", {"write -P 2 64k 64k", "write -z 192k 64k"});
    given_image("top.qcow2", "1M", {"-b", "mid.qcow2", "-F", "qcow2"});
    given_writes("top.qcow2", {"write -P 3 128k 64k", "write -z 0 64k", "write -P 4 600k 3k"});
  }
  void expect_committed(Words arguments, const Words& images = {"top.qcow2", "base.qcow2"}) const {
    arguments.insert(arguments.begin(), "commit");
    expect_same_success(arguments);
    for (const std::string& image : images) {
      expect_same_image(image);
      expect_same_content(image);
    }
  }
  void expect_refused(Words arguments) const {
    arguments.insert(arguments.begin(), "commit");
    expect_same_failure(arguments);
  }
  std::string map_of(const std::string& directory, const std::string& name) const {
    return run_in(directory, {"qemu-img", "map", name}).out;
  }
};

TEST_F(Commit, TopIsMergedIntoItsBackingFileAndEmptied) {
  for (const Words& options : {Words{}, Words{"-q"}, Words{"-f", "qcow2"}, Words{"-t", "none"},
                               Words{"-t", "unsafe", "-r", "100M"}, Words{"-r", "0"}}) {
    make_chain();
    Words words = options;
    words.emplace_back("top.qcow2");
    expect_committed(words, {"top.qcow2", "mid.qcow2", "base.qcow2"});
    EXPECT_EQ(map_of("ours", "top.qcow2").find("top.qcow2"), std::string::npos);
  }
}

TEST_F(Commit, TopKeepsItsContentIfItIsNotNeeded) {
  expect_committed({"-d", "top.qcow2"}, {"top.qcow2", "mid.qcow2", "base.qcow2"});
  EXPECT_NE(map_of("ours", "top.qcow2").find("top.qcow2"), std::string::npos);
}

TEST_F(Commit, BaseIsFoundByTheNamesThatItGoesBy) {
  for (const std::string& name :
       {std::string("base.qcow2"), std::string("./base.qcow2"), std::string("mid.qcow2")}) {
    make_chain();
    expect_committed({"-b", name, "top.qcow2"});
  }
  make_chain();
  const Words top = {"commit", "-b", "base.qcow2", "./top.qcow2"};
  expect_same_success(top);
}

TEST_F(Commit, ListOfOptionsNamesTheImage) {
  expect_committed({"--image-opts", "driver=qcow2,file.filename=top.qcow2"});
  make_chain();
  expect_committed({"-b", "base.qcow2", "--image-opts", "driver=qcow2,file.filename=top.qcow2"});
}

TEST_F(Commit, BaseGrowsWithTheTop) {
  for (const std::string base : {"base.qcow2", "mid.qcow2"}) {
    make_chain();
    given("top.qcow2", {"resize", "-q", "top.qcow2", "3M"});
    given_writes("top.qcow2", {"write -P 9 2M 10k"});
    expect_committed({"-b", base, "top.qcow2"}, {"top.qcow2", base});
  }
}

TEST_F(Commit, BaseDoesNotShrinkWithTheTop) {
  given("top.qcow2", {"resize", "-q", "--shrink", "top.qcow2", "300k"});
  expect_committed({"top.qcow2"}, {"top.qcow2", "mid.qcow2"});
}

TEST_F(Commit, BaseMayBeOfAnyFormat) {
  for (const std::string format : {"raw", "qcow", "qcow2"}) {
    given("b", {"create", "-q", "-f", format, "b", "1M"});
    given("top.qcow2", {"create", "-q", "-f", "qcow2", "-b", "b", "-F", format, "top.qcow2"});
    given_writes("top.qcow2", {"write -P 3 128k 64k", "write -z 0 64k", "write -P 4 600k 3k"});
    expect_committed({"top.qcow2"}, {"top.qcow2", "b"});
  }
}

TEST_F(Commit, TopMayBeOfTheFirstVersion) {
  given("top.qcow", {"create", "-q", "-f", "qcow", "-b", "base.qcow2", "-F", "qcow2", "top.qcow"});
  given_writes("top.qcow", {"write -P 3 128k 64k", "write -P 4 600k 3k"});
  expect_committed({"-f", "qcow", "top.qcow"}, {"top.qcow", "base.qcow2"});
}

TEST_F(Commit, BaseOfTheOldVersionGetsZeroesAsData) {
  make_chain("compat=0.10");
  expect_committed({"-b", "base.qcow2", "top.qcow2"});
}

TEST_F(Commit, ImageThatCannotGrowFailsTheJob) {
  given("b", {"create", "-q", "-f", "qcow", "b", "1M"});
  given("top.qcow2", {"create", "-q", "-f", "qcow2", "-b", "b", "-F", "qcow", "top.qcow2", "2M"});
  expect_refused({"top.qcow2"});
}

TEST_F(Commit, BitmapsOfTheBaseFollow) {
  given("mid.qcow2", {"bitmap", "--add", "mid.qcow2", "on"});
  given("mid.qcow2", {"bitmap", "--add", "--disable", "mid.qcow2", "off"});
  expect_committed({"top.qcow2"}, {"top.qcow2", "mid.qcow2"});
  for (const std::string bitmap : {"on", "off"}) {
    const auto count = [&](const std::string& directory) {
      return run_in(directory,
                    {"qemu-img", "convert", "--bitmaps", "-O", "qcow2", "mid.qcow2", "copy.qcow2"})
          .exit_code;
    };
    EXPECT_EQ(count("ours"), count("reference")) << bitmap;
  }
}

TEST_F(Commit, SnapshotsOfTheTopStay) {
  given("top.qcow2", {"snapshot", "-c", "s", "top.qcow2"});
  expect_committed({"top.qcow2"});
  EXPECT_EQ(run_in("ours", {"qemu-img", "snapshot", "-a", "s", "top.qcow2"}).exit_code, 0);
}

TEST_F(Commit, ProgressIsShownBeforeTheResult) {
  const auto [reference, ours] = run_both({"commit", "-p", "top.qcow2"});
  EXPECT_EQ(ours.exit_code, 0);
  const std::string end = "    (100.00/100%)\r\nImage committed.\n";
  EXPECT_TRUE(ours.out.starts_with("    (0.00/100%)\r")) << ours.out;
  EXPECT_TRUE(ours.out.ends_with(end)) << ours.out;
  EXPECT_TRUE(reference.out.ends_with(end)) << reference.out;
}

TEST_F(Commit, BadArgumentsAreRefused) {
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{},
        Words{"a", "b"},
        Words{"--nonsense", "top.qcow2"},
        Words{"-b"},
        Words{"none.qcow2"},
        Words{"base.qcow2"},
        Words{"-b", "top.qcow2", "top.qcow2"},
        Words{"-b", "none.qcow2", "top.qcow2"},
        Words{"-b", "", "top.qcow2"},
        Words{"-b", "../base.qcow2", "top.qcow2"},
        Words{"-r", "x", "top.qcow2"},
        Words{"-r", "-5", "top.qcow2"},
        Words{"-r", "8E", "top.qcow2"},
        Words{"-t", "nonsense", "top.qcow2"},
        Words{"-t", "nonsense", "none"},
        Words{"-f", "nonsense", "top.qcow2"},
        Words{"-f", "raw", "top.qcow2"},
        Words{"-b", "x", "base.qcow2"},
        Words{"a.raw"},
        Words{"-U", "top.qcow2"},
        Words{"-r", "x"},
        Words{"-t", "nonsense"},
        Words{"--object", "secret,id=x", "top.qcow2"},
        Words{"--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=top.qcow2"}}) {
    expect_refused(words);
  }
  expect_same_image("top.qcow2");
}

TEST_F(Commit, MissingBackingFileIsNamed) {
  for (const std::string directory : {"ours", "reference"}) {
    std::filesystem::remove(file(directory + "/mid.qcow2"));
  }
  expect_refused({"top.qcow2"});
}

}  // namespace
}  // namespace qcowkit::test
