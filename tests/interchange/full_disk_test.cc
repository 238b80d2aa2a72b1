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

/// An image on a file system of 2 MiB that has no room left.
class ImageOnAFullDisk : public FullDisk {
 protected:
  ImageOnAFullDisk() {
    test::qemu_img({"create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", image_, "8M"});
    test::qemu_io(image_, {"write -P 1 0 600k"});
    test::qemu_img({"snapshot", "-c", "old", image_});
    test::qemu_io(image_, {"write -P 2 0 100k"});
    test::qemu_img({"create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", image_, "-F",
                    "qcow2", overlay_});
    test::qemu_io(overlay_, {"write -P 3 1M 3M"});
    std::filesystem::copy_file(image_, before_);
  }

  bool can_mount() const {
    return test::run({"unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=2m none \"$0\"",
                      dir_.file("small")})
        .ok();
  }

  /// Runs the tool with the image lying where nothing but `room_bytes` are left, and brings it
  /// back.
  CommandResult run_full(const Words& arguments, std::uint64_t room_bytes) const {
    const std::string script =
        "image=$0 folder=$1 room=$2; shift 2; mkdir -p $folder && "
        "mount -t tmpfs -o size=2m none $folder && cp $image $folder/disk && "
        "{ cat /dev/zero >$folder/filler 2>/dev/null; truncate -s -$room $folder/filler; "
        "mount --bind $folder/disk $image && shift && \"$@\"; code=$?; umount $image; "
        "cp $folder/disk $image; exit $code; }";
    Words command = {"unshare",
                     "-rm",
                     "sh",
                     "-c",
                     script,
                     image_,
                     dir_.file("small"),
                     std::to_string(room_bytes),
                     "--",
                     test::tool()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return test::run(command);
  }

  /// Leaks are all that a failure may leave behind.
  void expect_sound() const {
    const CommandResult check = test::run({"qemu-img", "check", image_});
    EXPECT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.out << check.err;
  }
  void expect_unchanged() const {
    const CommandResult same = test::run({"qemu-img", "compare", before_, image_});
    EXPECT_TRUE(same.ok()) << same.out << same.err;
  }
  void start_anew() const {
    std::filesystem::copy_file(before_, image_, std::filesystem::copy_options::overwrite_existing);
  }

  const std::string image_ = dir_.file("disk.qcow2");
  const std::string before_ = dir_.file("before.qcow2");
  const std::string overlay_ = dir_.file("overlay.qcow2");
};

TEST_F(ImageOnAFullDisk, IsWhatItWasAfterAChangeThatFailed) {
  if (!can_mount()) GTEST_SKIP() << "no file system can be mounted in a user namespace";
  for (const Words& arguments :
       std::vector<Words>{{"snapshot", "-c", "new", image_},
                          {"resize", "--preallocation=full", image_, "16M"},
                          {"resize", "--preallocation=falloc", image_, "16M"},
                          {"resize", "--preallocation=metadata", image_, "800M"},
                          {"resize", image_, "800G"},
                          {"amend", "-o", "refcount_bits=64", image_},
                          {"bitmap", "--add", image_, "bitmap"},
                          {"commit", "-d", overlay_},
                          {"io", "-c", "write -P 7 1M 1M", image_},
                          {"io", "-c", "write -c -P 7 1M 4k", image_},
                          {"io", "-c", "write -z 5M 4k", image_}}) {
    for (const std::uint64_t room_bytes : {0, 4096, 12288}) {
      SCOPED_TRACE(testing::PrintToString(arguments) + " " + std::to_string(room_bytes));
      const CommandResult result = run_full(arguments, room_bytes);
      expect_sound();
      if (result.ok()) {
        EXPECT_NE(room_bytes, 0u) << "there was no room at all";
      } else {
        EXPECT_EQ(result.exit_code, 1);
        EXPECT_NE((result.out + result.err).find("No space left on device"), std::string::npos)
            << result.out << result.err;
        if (arguments[0] != "commit") expect_unchanged();
        // What the commit has not brought down is still in the overlay.
        test::qemu_io(overlay_, {"read -P 3 1M 3M"});
      }
      start_anew();
    }
  }
}

TEST_F(ImageOnAFullDisk, KeepsWhatWasAcknowledgedBeforeAWriteThatFailed) {
  if (!can_mount()) GTEST_SKIP() << "no file system can be mounted in a user namespace";
  const CommandResult result =
      run_full({"io", "-c", "write -P 5 600k 64k", "-c", "flush", "-c", "write -P 7 1M 2M", "-c",
                "write -P 6 0 100k", "-c", "flush", image_},
               400 << 10);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("write failed: No space left on device"), std::string::npos)
      << result.out << result.err;
  expect_sound();
  EXPECT_EQ(test::run({"qemu-io", "-r", "-c", "read -P 5 600k 64k", "-c", "read -P 6 0 100k", "-c",
                       "read -P 1 100k 500k", image_})
                .exit_code,
            0);
}

TEST_F(ImageOnAFullDisk, IsRepairedAndGivesSpaceBackWithoutRoom) {
  if (!can_mount()) GTEST_SKIP() << "no file system can be mounted in a user namespace";
  for (const Words& arguments : std::vector<Words>{{"snapshot", "-d", "old", image_},
                                                   {"io", "-c", "discard 0 64k", image_},
                                                   {"io", "-c", "write -P 6 100k 4k", image_},
                                                   {"check", "-r", "all", image_}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    const CommandResult result = run_full(arguments, 0);
    if (!result.ok()) {
      EXPECT_NE((result.out + result.err).find("No space left on device"), std::string::npos)
          << result.out << result.err;
    }
    expect_sound();
    start_anew();
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
