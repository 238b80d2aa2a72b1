// qcow rebase, side by side with the reference.
#include "tests/cli/side_by_side.h"

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

TEST_F(Rebase, SafeModeIsRefusedByName) {
  const CommandResult result =
      run_in("ours", {QCOWKIT_TOOL, "rebase", "-b", "base.qcow2", "-F", "qcow2", "a.qcow2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "qcow: rebase without -u is not supported\n");
}

}  // namespace
}  // namespace qcowkit::test
