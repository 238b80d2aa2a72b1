// Where the host runs out of space, the tool says so and exits with an error.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit {
namespace {

using test::CommandResult;
using Words = std::vector<std::string>;

class FullDisk : public testing::Test {
 protected:
  FullDisk() {
    test::write_file(source_, test::make_content(3, 5 << 20));
    std::filesystem::create_directory(dir_.file("small"));
  }

  /// Runs the tool in a shell that has prepared something first, or skips where it may not.
  CommandResult tool_after(const std::string& preparation, const Words& arguments) {
    Words command = {"sh", "-c", preparation + " && exec \"$@\"", "sh", test::tool()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return test::run(command);
  }

  /// Commands that write several MiB to `target`.
  std::vector<Words> large_commands(const std::string& target) const {
    return {
        {"create", "-f", "raw", "-o", "preallocation=full", target, "8M"},
        {"create", "-f", "raw", "-o", "preallocation=falloc", target, "8M"},
        {"create", "-f", "qcow2", "-o", "preallocation=full", target, "8M"},
        {"convert", "-O", "raw", source_, target},
        {"convert", "-O", "qcow2", source_, target},
        {"convert", "-O", "qcow2", "-o", "cluster_size=512", source_, target},
        {"convert", "-c", "-O", "qcow2", source_, target},
        {"convert", "-c", "-W", "-O", "qcow2", "-o", "compression_type=zstd", source_, target},
    };
  }

  static void expect_failure(const CommandResult& result, const std::string& file,
                             const std::string& reason) {
    EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
    EXPECT_NE(result.err.find(file), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(reason), std::string::npos) << result.err;
  }

  const test::TempDir dir_;
  const std::string source_ = dir_.file("source.raw");
};

TEST_F(FullDisk, ALimitOnFileSizesIsAnErrorThatNamesTheFile) {
  const std::string target = dir_.file("target");
  for (const Words& command : large_commands(target)) {
    SCOPED_TRACE(testing::PrintToString(command));
    // In units of 512 bytes or 1 KiB, as the shell likes.
    expect_failure(tool_after("ulimit -f 2048", command), target, "too large");
  }
}

TEST_F(FullDisk, AFullFileSystemIsAnErrorThatNamesTheFile) {
  const std::string mount = "mount -t tmpfs -o size=1m none " + dir_.file("small");
  if (!test::run({"unshare", "-rm", "sh", "-c", mount}).ok()) {
    GTEST_SKIP() << "no file system can be mounted in a user namespace";
  }
  const std::string target = dir_.file("small/target");
  for (const Words& arguments : large_commands(target)) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    Words command = {"unshare", "-rm", "sh", "-c", mount + " && exec \"$@\"", "sh", test::tool()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    expect_failure(test::run(command), target, "No space left on device");
  }
}

TEST_F(FullDisk, OutputThatCannotBeWrittenIsAnError) {
  const std::string image = dir_.file("disk.qcow2");
  test::qemu_img({"create", "-q", "-f", "qcow2", image, "1M"});
  for (const Words& arguments :
       std::vector<Words>{{"--help"},
                          {"info", image},
                          {"info", "--output=json", image},
                          {"check", image},
                          {"map", image},
                          {"map", "--output=json", image},
                          {"measure", "-O", "qcow2", image},
                          {"create", "-f", "qcow2", dir_.file("new.qcow2"), "1M"}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    Words command = {"sh", "-c", "exec \"$@\" >/dev/full", "sh", test::tool()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    expect_failure(test::run(command), "standard output", "No space left on device");
  }
}

TEST_F(FullDisk, ACharacterDeviceIsNoTarget) {
  const CommandResult result =
      test::run({test::tool(), "convert", "-O", "raw", source_, "/dev/full"});
  expect_failure(result, "/dev/full", "Cannot grow device files");
}

}  // namespace
}  // namespace qcowkit
