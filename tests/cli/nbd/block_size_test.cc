// The smallest requests that clients are told to make.
#include "tests/cli/nbd/server.h"

namespace qcowkit::test {
namespace {

class NbdBlockSize : public NbdProgram {
 protected:
  void SetUp() override {
    NbdProgram::SetUp();
    if (IsSkipped()) return;
    expect_ok({"qemu-img", "create", "-q", "-f", "raw", file("a.raw"), "64k"});
    expect_ok({"qemu-img", "create", "-q", "-f", "qcow", file("a.qcow"), "64k"});
    make_image("a.qcow2", "64k");
  }

  /// The server's words, and what the client then learns.
  void expect_minimum(int bytes, const Words& words) {
    serve(words);
    expect_script_ok("assert h.get_block_size(nbd.SIZE_MINIMUM) == " + std::to_string(bytes));
  }
};

TEST_F(NbdBlockSize, IsASectorWhereTheFormatWasGuessedToBeRaw) {
  expect_minimum(512, {file("a.raw")});
  expect_minimum(512, {"-r", file("a.raw")});
  expect_minimum(1, {"-f", "raw", file("a.raw")});
  expect_minimum(1, {"-s", file("a.raw")});
}

TEST_F(NbdBlockSize, IsASectorWhereNoLessCanBeStored) {
  expect_minimum(512, {file("a.qcow")});
  expect_minimum(1, {file("a.qcow2")});
}

TEST_F(NbdBlockSize, SmallerRequestsAreServedAllTheSame) {
  serve({file("a.raw")});
  expect_script_ok(
      "h.set_strict_mode(0)\nh.pwrite(b'x' * 100, 1000)\nassert h.pread(100, 1000) == b'x' * 100");
}

TEST_F(NbdBlockSize, ExportsThatThereAreNotAreNamed) {
  serve({"-x", "disk", file("a.raw")});
  const CommandResult result = run({"qemu-img", "info", uri("other")});
  EXPECT_FALSE(result.ok());
  EXPECT_NE(result.err.find("export 'other' not present"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace qcowkit::test
