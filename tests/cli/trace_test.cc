// -T: what it refuses, warns of and lists, as the reference does, and what it writes.
#include <regex>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Trace : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (!IsSkipped()) create("a.qcow2", "1M");
  }

  /// Both say the same on standard error but for their names, and end with the same code.
  void expect_same(const std::string& trace) const {
    const CommandResult ours = qcow({"-T", trace, "info", file("a.qcow2")});
    const CommandResult reference = run({"qemu-img", "-T", trace, "info", file("a.qcow2")});
    std::string expected = reference.err;
    for (std::size_t at; (at = expected.find("qemu-img:")) != expected.npos;) {
      expected.replace(at, 8, "qcow");
    }
    EXPECT_EQ(ours.err, expected) << trace;
    EXPECT_EQ(ours.exit_code, reference.exit_code) << trace;
  }
};

TEST_F(Trace, WhatDoesNotExistIsWarnedOfAndChangesNothing) {
  expect_same("foo");
  expect_same("-foo");
  expect_same("foo?");
  expect_same("foo*");
  expect_same("enable=foo");
  expect_same("");
  expect_same("file=" + file("trace"));
}

TEST_F(Trace, FileOfPatternsIsWarnedOfLineByLine) {
  std::ofstream(file("list")) << "foo\n# comment\n\n-bar\n  x\nnothing_*\n";
  expect_same("events=" + file("list"));
}

TEST_F(Trace, OptionsThatMakeNoSenseEndTheProgram) {
  expect_same("bogus=1");
  expect_same("foo*,file=/nonexistent/file");
  EXPECT_EQ(qcow({"-T", "events=" + file("none"), "info", file("a.qcow2")}).exit_code, 1);
}

TEST_F(Trace, HelpListsTheEvents) {
  for (const char* help : {"help", "?", "enable=help"}) {
    const CommandResult result = qcow({"-T", help});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.out.find("l1_update\n"), result.out.npos);
    EXPECT_NE(result.out.find("\ncluster_alloc_space\n"), result.out.npos);
  }
}

TEST_F(Trace, EventsAreWrittenOneALine) {
  const CommandResult result = qcow({"-T", "reftable_*,file=" + file("trace"), "-T", "refblock_*",
                                     "-T", "-refblock_load", "resize", file("a.qcow2"), "2G"});
  ASSERT_TRUE(result.ok()) << result.err;
  std::ifstream trace(file("trace"));
  const std::regex kLine("[0-9]+\\.[0-9]{6} ref[a-z_]+ offset [0-9]+ bytes [0-9]+");
  int lines = 0;
  for (std::string line; std::getline(trace, line); ++lines) {
    EXPECT_TRUE(std::regex_match(line, kLine)) << line;
    EXPECT_EQ(line.find("refblock_load"), line.npos) << line;
  }
  EXPECT_GT(lines, 0);
}

}  // namespace
}  // namespace qcowkit::test
