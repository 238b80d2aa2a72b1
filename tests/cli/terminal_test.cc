// What a person sees on a terminal: a stranger's names give it no commands.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

/// Runs the tool with its standard output and standard error on a terminal; returns what arrives
/// there.
std::string seen_on_terminal(const Words& arguments) {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_GE(master, 0);
  EXPECT_EQ(::grantpt(master), 0);
  EXPECT_EQ(::unlockpt(master), 0);
  const char* const name = ::ptsname(master);
  EXPECT_NE(name, nullptr);
  const std::string path = name;
  // Held open, so that what was written is not lost when the program ends.
  const int terminal = ::open(path.c_str(), O_RDWR | O_NOCTTY);
  Words words = {"sh", "-c", "exec \"$@\" >" + path + " 2>&1", "sh", test::tool()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  run(words);
  ::fcntl(master, F_SETFL, O_NONBLOCK);
  std::string seen;
  char bytes[4096];
  for (ssize_t count; (count = ::read(master, bytes, sizeof bytes)) > 0;) {
    seen.append(bytes, static_cast<std::size_t>(count));
  }
  ::close(terminal);
  ::close(master);
  return seen;
}

const std::string kName =
    "b\x1b]0;title\x07\x1b[8mhidden\rover\x7f\xc2\x9b"
    "31m";
const std::string kShown =
    "b\\x1b]0;title\\x07\\x1b[8mhidden\\x0dover\\x7f\\xc2\\x9b"
    "31m";

class Terminal : public Conformance {
 protected:
  void create_naming(const std::string& backing) const {
    const CommandResult made =
        qcow({"create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path_, "64k"});
    ASSERT_TRUE(made.ok()) << made.err;
  }
  const std::string path_ = file("stranger.qcow2");
};

TEST_F(Terminal, NamesInImagesAreShownNotObeyed) {
  create_naming(kName);
  const std::string named = file("named.qcow2");
  ASSERT_TRUE(qcow({"create", "-q", "-f", "qcow2", named, "64k"}).ok());
  ASSERT_TRUE(qcow({"snapshot", "-c", kName, named}).ok());
  for (const Words& arguments :
       std::vector<Words>{{"info", path_}, {"map", path_}, {"snapshot", "-l", named}}) {
    const std::string seen = seen_on_terminal(arguments);
    EXPECT_NE(seen.find(kShown), std::string::npos) << joined(arguments);
    EXPECT_EQ(seen.find('\x07'), std::string::npos) << joined(arguments);
  }
}

TEST_F(Terminal, WhatNoTerminalReadsIsAsTheReferenceHasIt) {
  create_naming(kName);
  expect_same({"info", path_});
  EXPECT_NE(qcow({"map", path_}).err.find(kName), std::string::npos);
}

TEST_F(Terminal, ProgressAndBoldPrintStay) {
  ASSERT_TRUE(qcow({"create", "-q", "-f", "qcow2", path_, "64k"}).ok());
  const std::string progress = seen_on_terminal({"convert", "-p", "-O", "raw", path_, file("out")});
  EXPECT_NE(progress.find("(100.00/100%)\r"), std::string::npos) << progress;
  EXPECT_NE(seen_on_terminal({"--help"}).find("\033[1mCommands:\033[0m"), std::string::npos);
}

}  // namespace
}  // namespace qcowkit::test
