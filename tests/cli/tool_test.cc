// What all commands of qcow have in common: the command line, help, output that cannot be written.
#include <filesystem>
#include <sstream>

#include "tests/cli/conformance.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

const Words kCommands = {"amend", "bitmap", "check",   "compare", "convert", "create",
                         "info",  "map",    "measure", "rebase",  "resize",  "snapshot"};

class Tool : public Conformance {
 protected:
  /// Runs the tool from a shell, whose standard output goes where `redirection` says.
  static CommandResult run_redirected(const Words& arguments, const std::string& redirection) {
    Words words = {"sh", "-c", "exec \"$0\" \"$@\" " + redirection, test::tool()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return run(words);
  }
};

TEST_F(Tool, UsageErrorsEndWithOneAndPointAtTheHelp) {
  for (const Words& words : {Words{}, Words{"nonsense"}, Words{"--nonsense"}}) {
    expect_same(words);
  }
  EXPECT_EQ(qcow({"-x"}).exit_code, 1);
  for (const std::string& command : kCommands) {
    for (const Words& words : {Words{command, "-X"}, Words{command, "--nonsense"},
                               Words{command, "--object"}, Words{command, "--object", "x"}}) {
      // The reference takes what it cannot read for a call for help here.
      if (command != "measure") expect_same(words);
      EXPECT_NE(qcow(words).exit_code, 0) << joined(words);
    }
    const CommandResult result = qcow({command, "--nonsense", "x"});
    EXPECT_EQ(result.err, "qcow: unrecognized option '--nonsense'\nTry 'qcow " + command +
                              " --help' for more information\n");
  }
}

TEST_F(Tool, HelpExplainsEveryCommandAndOption) {
  const CommandResult tool = qcow({"--help"});
  EXPECT_EQ(tool.exit_code, 0);
  EXPECT_EQ(qcow({"-h"}).out, tool.out);
  for (const std::string& command : kCommands) {
    EXPECT_NE(tool.out.find("\n  " + command + " "), std::string::npos) << command;
    const CommandResult help = qcow({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_EQ(help.err, "");
    EXPECT_TRUE(help.out.starts_with("usage: qcow " + command + " ")) << help.out;
    EXPECT_NE(help.out.find("\nExamples:\n  qcow " + command), std::string::npos) << help.out;
    const bool can_share = help.out.find("-U, --force-share") != help.out.npos;
    EXPECT_EQ(qcow({command, "-U", "-h"}).out, can_share ? help.out : "") << command;
    std::istringstream lines(help.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST_F(Tool, VersionIsPrinted) {
  const CommandResult result = qcow({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(result.out.starts_with("qcow version ")) << result.out;
  EXPECT_EQ(qcow({"-V"}).out, result.out);
}

TEST_F(Tool, OptionsAreReadAsGetoptDoes) {
  create("a.qcow2", "1M");
  const std::string path = file("a.qcow2");
  for (const Words& words :
       {Words{"info", path, "-f", "qcow2"}, Words{"info", "-fqcow2", path},
        Words{"info", "-Ufqcow2", path}, Words{"info", "--format=qcow2", path},
        Words{"info", "--form", "qcow2", path}, Words{"info", "--outp=json", "--", path},
        Words{"info", "-U", "--force", path}, Words{"info", "-Uf"},
        Words{"info", "--force-share=x", path}, Words{"info", "--", "-f"}, Words{"info", "-"},
        Words{"info", "-f", "raw", "-f", "qcow2", path}}) {
    expect_same(words);
  }
}

TEST_F(Tool, MessagesStartWithTheNameItWasCalledBy) {
  const std::string link = file("other-name");
  std::filesystem::create_symlink(test::tool(), link);
  EXPECT_EQ(run({link, "nonsense"}).err,
            "other-name: Command not found: nonsense\n"
            "Try 'other-name --help' for more information\n");
}

TEST_F(Tool, OutputThatCannotBeWrittenIsAFailure) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "there is no /dev/full";
  create("a.qcow2", "1M");
  const std::string path = file("a.qcow2");
  for (const Words& words :
       {Words{"info", path}, Words{"map", path}, Words{"map", "--output=json", path},
        Words{"check", path}, Words{"measure", path}, Words{"create", file("b.raw"), "1M"},
        Words{"convert", "-p", path, file("b.raw")}, Words{"--help"}, Words{"info", "--help"},
        Words{"--version"}, Words{"create", "-o", "help"}}) {
    const CommandResult result = run_redirected(words, ">/dev/full");
    EXPECT_EQ(result.exit_code, 1) << joined(words);
    EXPECT_NE(result.err.find("No space left on device"), std::string::npos) << joined(words);
  }
  // Where 1 means that images differ, it is another code.
  EXPECT_EQ(run_redirected({"compare", path, path}, ">/dev/full").exit_code, 2);
  EXPECT_EQ(run_redirected({"info", path}, ">&-").exit_code, 1);
  EXPECT_EQ(run_redirected({"check", "-q", path}, ">/dev/full").exit_code, 0);
}

TEST_F(Tool, SignalMakesALongCommandTellItsProgress) {
  write_file("data.raw", std::string(1 << 20, 'x'));
  // The signal is no longer deadly when the command has begun to write its target.
  const std::string script =
      "\"$0\" convert -r 512k \"$1\" \"$2\" & pid=$!\n"
      "while [ ! -s \"$2\" ]; do sleep 0.01; done\n"
      "kill -USR1 $pid\n"
      "wait $pid";
  const CommandResult result =
      run({"sh", "-c", script, test::tool(), file("data.raw"), file("out")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("    (")) << result.err;
  EXPECT_TRUE(result.err.ends_with("/100%)\n")) << result.err;
}

}  // namespace
}  // namespace qcowkit::test
