// qcow rebase, side by side with the reference.
#include <array>

#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class Rebase : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("base.qcow2", "1M");
    given_image("a.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
  }
  void expect_rebased(Words arguments) const {
    arguments.insert(arguments.begin(), {"rebase", "-u"});
    expect_same_success(arguments);
    expect_same_image("a.qcow2");
  }
  void expect_refused(Words arguments) const {
    arguments.insert(arguments.begin(), "rebase");
    expect_same_failure(arguments);
    expect_same_image("a.qcow2");
  }
};

TEST_F(Rebase, ReferenceIsChangedWithoutALook) {
  for (const Words& words :
       {Words{"-b", "other.qcow2", "-F", "qcow2", "a.qcow2"},
        Words{"-b", "dir/a much longer name than before", "-F", "raw", "a.qcow2"},
        Words{"-b", "", "a.qcow2"}, Words{"-b", "base.qcow2", "-F", "qcow2", "a.qcow2"},
        Words{"a.qcow2"}, Words{"-b", "base.qcow2", "-F", "qcow2", "-f", "qcow2", "a.qcow2"},
        Words{"-b", "", "-F", "qcow2", "a.qcow2"}, Words{"-b", "a.qcow2", "-F", "qcow2", "a.qcow2"},
        Words{"-q", "-b", "base.qcow2", "-F", "qcow2", "a.qcow2"},
        Words{"-U", "-b", "x", "-F", "raw", "a.qcow2"},
        Words{"-t", "none", "-T", "unsafe", "-b", "y", "-F", "raw", "a.qcow2"},
        Words{"-b", "z", "-F", "raw", "--image-opts", "driver=qcow2,file.filename=a.qcow2"},
        Words{"-F", "raw", "a.qcow2"}, Words{"-p", "-q", "-b", "nbd://x/y", "-F", "raw", "a.qcow2"},
        Words{"-b", "base.qcow2", "-F", "qcow2", "a.qcow2"}}) {
    expect_rebased(words);
  }
  expect_same_content("a.qcow2");
}

TEST_F(Rebase, OldVersionKeepsItsReference) {
  given_image("a.qcow2", "1M", {"-o", "compat=0.10"});
  expect_rebased({"-b", "base.qcow2", "-F", "qcow2", "a.qcow2"});
  expect_rebased({"-b", "", "a.qcow2"});
}

TEST_F(Rebase, ProgressIsShown) {
  expect_rebased({"-p", "-b", "base.qcow2", "-F", "qcow2", "a.qcow2"});
}

TEST_F(Rebase, BadArgumentsAreRefused) {
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{}, Words{"-u"}, Words{"a.qcow2"}, Words{"-u", "a.qcow2", "b"}, Words{"-u", "none"},
        Words{"-u", "-b", "x", "a.qcow2"}, Words{"-u", "-b", "x", "-F", "nonsense", "a.qcow2"},
        Words{"-u", "-b", "x", "-F", "", "a.qcow2"}, Words{"-u", "-F", "nonsense", "a.qcow2"},
        Words{"-u", "-t", "nonsense", "a.qcow2"}, Words{"-u", "-T", "nonsense", "a.qcow2"},
        Words{"-u", "-f", "nonsense", "a.qcow2"}, Words{"-u", "--nonsense", "a.qcow2"},
        Words{"-u", "-b", "x", "-F", "raw", "-f", "raw", "a.raw"},
        Words{"-u", "-b", "x", "-F", "raw", "a.raw"},
        Words{"-u", "--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=a.qcow2"}}) {
    expect_refused(words);
  }
  const Words too_long = {"rebase", "-u", "-F", "raw", "-b", std::string(1100, 'x'), "a.qcow2"};
  EXPECT_EQ(expect_same_outcome(too_long).exit_code, 1);
}

/// The safe mode: the image's content stays.
class SafeRebase : public Rebase {
 protected:
  void SetUp() override {
    Rebase::SetUp();
    if (IsSkipped()) return;
    make_images("1M", "1M", "1M");
  }
  /// top over old, which is over base; new on its own, and one over base.
  void make_images(const std::string& old_size, const std::string& new_size,
                   const std::string& top_size) const {
    given_image("base.qcow2", "1M");
    given_writes("base.qcow2", {"write -P 9 900k 60k"});
    given_image("old.qcow2", old_size, {"-b", "base.qcow2", "-F", "qcow2"});
    given_writes("old.qcow2", {"write -P 1 0 256k", "write -P 8 300k 30k", "write -z 400k 10k"});
    given_image("new.qcow2", new_size);
    given_writes("new.qcow2", {"write -P 1 0 128k", "write -P 2 128k 128k", "write -P 7 400k 4k"});
    given_image("sibling.qcow2", new_size, {"-b", "base.qcow2", "-F", "qcow2"});
    given_writes("sibling.qcow2", {"write -P 1 0 128k", "write -P 5 400k 4k"});
    given_image("top.qcow2", top_size, {"-b", "old.qcow2", "-F", "qcow2"});
    given_writes("top.qcow2", {"write -P 3 192k 64k"});
  }
  void expect_moved(Words arguments) const {
    for (const std::string directory : {"ours", "reference"}) {
      run_in(directory, {"qemu-img", "convert", "-O", "raw", "top.qcow2", "before.raw"});
    }
    arguments.insert(arguments.begin(), "rebase");
    expect_same_success(arguments);
    expect_same_image("top.qcow2");
    expect_same_content("top.qcow2");
    const CommandResult result = run_in("ours", {"qemu-img", "compare", "top.qcow2", "before.raw"});
    EXPECT_TRUE(result.ok()) << joined(arguments) << result.out;
  }
};

TEST_F(SafeRebase, ContentStaysOverAnotherBackingFile) {
  for (const Words& words :
       {Words{"-b", "new.qcow2", "-F", "qcow2"}, Words{"-b", "", "-F", "qcow2"}, Words{"-b", ""},
        Words{"-b", "base.qcow2", "-F", "qcow2"}, Words{"-b", "old.qcow2", "-F", "qcow2"},
        Words{"-b", "sibling.qcow2", "-F", "qcow2"}, Words{"-b", "new.qcow2", "-F", "raw"},
        Words{"-q", "-b", "./new.qcow2", "-F", "qcow2"},
        Words{"-U", "-b", "new.qcow2", "-F", "qcow2"},
        Words{"-t", "none", "-T", "none", "-b", "new.qcow2", "-F", "qcow2"}}) {
    make_images("1M", "1M", "1M");
    Words all = words;
    all.emplace_back("top.qcow2");
    expect_moved(all);
  }
}

TEST_F(SafeRebase, SizesMayDiffer) {
  for (const auto& [old_size, new_size, top_size] : {std::array<std::string, 3>{"700k", "1M", "1M"},
                                                     {"1M", "700k", "1M"},
                                                     {"1M", "1M", "420k"},
                                                     {"420k", "700k", "1M"},
                                                     {"700k", "420k", "1M"}}) {
    make_images(old_size, new_size, top_size);
    expect_moved({"-b", "sibling.qcow2", "-F", "qcow2", "top.qcow2"});
    expect_moved({"-b", "new.qcow2", "-F", "qcow2", "top.qcow2"});
    expect_moved({"-b", "", "top.qcow2"});
    expect_moved({"-b", "new.qcow2", "-F", "qcow2", "top.qcow2"});
  }
}

TEST_F(SafeRebase, NamesAreTakenFromTheImagesDirectory) {
  for (const std::string directory : {"ours/sub", "reference/sub"}) {
    std::filesystem::create_directory(file(directory));
  }
  const Words in_sub = {"rebase", "-b", "new.qcow2", "-F", "qcow2", "sub/../top.qcow2"};
  expect_same_success(in_sub);
  expect_same_image("top.qcow2");
  expect_same_success({"rebase", "-b",
                       R"(json:{"driver":"qcow2","file":{"driver":"file","filename":"old.qcow2"}})",
                       "-F", "qcow2", "top.qcow2"});
  expect_same_image("top.qcow2");
}

TEST_F(SafeRebase, ListOfOptionsNamesTheImage) {
  expect_moved(
      {"--image-opts", "-b", "new.qcow2", "-F", "qcow2", "driver=qcow2,file.filename=top.qcow2"});
}

TEST_F(SafeRebase, MergedClustersAreCompressedIfAskedFor) {
  const CommandResult result =
      run_in("ours", {test::tool(), "rebase", "-c", "-b", "new.qcow2", "-F", "qcow2", "top.qcow2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const CommandResult check = run_in("ours", {"qemu-img", "check", "top.qcow2"});
  EXPECT_TRUE(check.ok()) << check.out;
  EXPECT_NE(check.out.find("% compressed"), std::string::npos);
  EXPECT_EQ(check.out.find(" 0.00% compressed"), std::string::npos) << check.out;
}

TEST_F(SafeRebase, ProgressIsShown) {
  const auto [reference, ours] =
      run_both({"rebase", "-p", "-b", "new.qcow2", "-F", "qcow2", "top.qcow2"});
  EXPECT_EQ(ours.exit_code, 0);
  EXPECT_TRUE(ours.out.starts_with("    (0.00/100%)\r")) << ours.out;
  EXPECT_TRUE(ours.out.ends_with("    (100.00/100%)\r\n")) << ours.out;
  EXPECT_TRUE(reference.out.ends_with("    (100.00/100%)\r\n")) << reference.out;
}

TEST_F(SafeRebase, BadArgumentsAreRefused) {
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{"-b", "new.qcow2", "top.qcow2"}, Words{"-b", "none", "-F", "qcow2", "top.qcow2"},
        Words{"-b", "new.qcow2", "-F", "nonsense", "top.qcow2"},
        Words{"-b", "new.qcow2", "-F", "", "top.qcow2"}, Words{"-F", "qcow2", "top.qcow2"},
        Words{"-b", "none", "-F", "nonsense", "top.qcow2"},
        Words{"-b", "none", "-F", "nonsense", "nothing"},
        Words{"-b", "top.qcow2", "-F", "qcow2", "top.qcow2"},
        Words{"-b", "new.qcow2", "-F", "qcow2", "-t", "nonsense", "top.qcow2"},
        Words{"-b", "new.qcow2", "-F", "qcow2", "-T", "nonsense", "top.qcow2"},
        Words{"-b", "a.raw", "-F", "qcow2", "top.qcow2"},
        Words{"-b", "new.qcow2", "-F", "qcow2", "-f", "raw", "a.raw"},
        Words{"-b", "new.qcow2", "-F", "qcow2", "a.raw"},
        Words{"--image-opts", "-b", "driver=qcow2,file.filename=new.qcow2",
              "driver=qcow2,file.filename=top.qcow2"},
        Words{"--image-opts", "-b", "driver=qcow2,file.filename=new.qcow2", "-F", "qcow2",
              "driver=qcow2,file.filename=top.qcow2"}}) {
    expect_refused(words);
  }
  for (const std::string directory : {"ours", "reference"}) {
    std::filesystem::remove(file(directory + "/old.qcow2"));
  }
  expect_refused({"-b", "new.qcow2", "-F", "qcow2", "top.qcow2"});
}

}  // namespace
}  // namespace qcowkit::test
