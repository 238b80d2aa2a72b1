// Locks: between our own storages, and against the reference's processes.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::BackgroundCommand;
using test::CommandResult;
using test::TempDir;

constexpr const char* kSizeBytes = "1048576";

std::unique_ptr<Storage> open_with(const std::string& path, bool read_only,
                                   Locking locking = Locking::automatic) {
  FileOptions options;
  options.read_only = read_only;
  options.locking = locking;
  return open_file(path, options);
}

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return Error(std::error_code(), "no error");
}

/// A folder with an image in the reference's own format.
class FileLock : public testing::Test {
 protected:
  void SetUp() override {
    FileOptions options;
    options.create = true;
    open_file(path_, options)->resize(1 << 20, Preallocation::off);
    const auto first = open_with(path_, true);
    if (error_of([&] { open_with(path_, false); }).code() != Errc::in_use) {
      GTEST_SKIP() << "the file system has no locks";
    }
  }
  void make_reference_image() {
    if (!test::have_command("qemu-img")) GTEST_SKIP() << "no reference to compare with";
    ASSERT_TRUE(test::run({"qemu-img", "create", "-f", "qcow2", path_, kSizeBytes}).ok());
  }
  const std::string& path() const { return path_; }

 private:
  TempDir folder_;
  std::string path_ = folder_.file("image");
};

TEST_F(FileLock, ReadersShare) {
  const auto first = open_with(path(), true);
  const auto second = open_with(path(), true);
  EXPECT_EQ(second->size(), 1U << 20);
}

TEST_F(FileLock, WriterExcludesReader) {
  const auto writer = open_with(path(), false);
  const Error error = error_of([&] { open_with(path(), true); });
  EXPECT_EQ(error.code(), Errc::in_use);
  EXPECT_EQ(error.message(),
            "Failed to get shared \"write\" lock\n"
            "Is another process using the image [" +
                path() + "]?");
}

TEST_F(FileLock, WriterExcludesWriter) {
  const auto writer = open_with(path(), false);
  const Error error = error_of([&] { open_with(path(), false); });
  EXPECT_EQ(error.code(), Errc::in_use);
  EXPECT_EQ(error.message(),
            "Failed to get \"write\" lock\n"
            "Is another process using the image [" +
                path() + "]?");
}

TEST_F(FileLock, ReaderExcludesWriterAndIsNotDisturbedByTheAttempt) {
  const auto reader = open_with(path(), true);
  EXPECT_EQ(error_of([&] { open_with(path(), false); }).code(), Errc::in_use);
  const auto another = open_with(path(), true);
}

TEST_F(FileLock, CreateLeavesAFileInUseAlone) {
  const auto reader = open_with(path(), true);
  FileOptions options;
  options.create = true;
  EXPECT_EQ(error_of([&] { open_file(path(), options); }).code(), Errc::in_use);
  EXPECT_EQ(reader->size(), 1U << 20);
}

TEST_F(FileLock, CloseAndDestructionEndTheLock) {
  const auto writer = open_with(path(), false);
  writer->close();
  { const auto another = open_with(path(), false); }
  const auto third = open_with(path(), false);
}

TEST_F(FileLock, ForceShareReadsBesideAWriterAndDoesNotHinderIt) {
  const auto reader = open_with(path(), true, Locking::force_share);
  const auto writer = open_with(path(), false);
  const auto late_reader = open_with(path(), true, Locking::force_share);
  writer->write(0, std::as_bytes(std::span<const char>("x", 1)));
  std::byte byte{};
  reader->read(0, {&byte, 1});
  EXPECT_EQ(byte, std::byte{'x'});
}

TEST_F(FileLock, LockingOffNeitherLocksNorLooks) {
  const auto writer = open_with(path(), false, Locking::off);
  const auto another = open_with(path(), false);
  const auto third = open_with(path(), false, Locking::off);
}

TEST_F(FileLock, ReferenceIsRefusedWhileWeWrite) {
  make_reference_image();
  if (IsSkipped()) return;
  const auto writer = open_with(path(), false);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"qemu-img", "info", path()},
        {"qemu-img", "check", path()},
        {"qemu-img", "check", "-r", "all", path()},
        {"qemu-img", "create", "-f", "qcow2", path(), kSizeBytes}}) {
    const CommandResult result = test::run(command);
    EXPECT_NE(result.exit_code, 0) << command[1];
    EXPECT_NE(result.err.find("\"write\" lock"), std::string::npos) << result.err;
  }
  EXPECT_TRUE(test::run({"qemu-img", "info", "-U", path()}).ok());
}

TEST_F(FileLock, ReferenceReadsButDoesNotWriteWhileWeRead) {
  make_reference_image();
  if (IsSkipped()) return;
  const auto reader = open_with(path(), true);
  EXPECT_TRUE(test::run({"qemu-img", "info", path()}).ok());
  EXPECT_TRUE(test::run({"qemu-img", "check", path()}).ok());
  const CommandResult result = test::run({"qemu-img", "check", "-r", "all", path()});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("Failed to get \"write\" lock"), std::string::npos) << result.err;
}

TEST_F(FileLock, ReferenceIsNotHinderedByForceShare) {
  make_reference_image();
  if (IsSkipped()) return;
  const auto reader = open_with(path(), true, Locking::force_share);
  EXPECT_TRUE(test::run({"qemu-img", "check", "-r", "all", path()}).ok());
}

TEST_F(FileLock, WeAreRefusedWhileTheReferenceWrites) {
  make_reference_image();
  if (IsSkipped() || !test::have_command("qemu-io")) return;
  BackgroundCommand holder({"qemu-io", "-f", "qcow2", path()});
  holder.send_line("write -P 5 0 4096");
  ASSERT_TRUE(holder.wait_for("wrote 4096")) << holder.output();
  EXPECT_EQ(error_of([&] { open_with(path(), true); }).code(), Errc::in_use);
  EXPECT_EQ(error_of([&] { open_with(path(), false); }).code(), Errc::in_use);
  open_with(path(), true, Locking::force_share);
  EXPECT_EQ(holder.finish(), 0);
  open_with(path(), false);
}

TEST_F(FileLock, WeReadButDoNotWriteWhileTheReferenceReads) {
  make_reference_image();
  if (IsSkipped() || !test::have_command("qemu-io")) return;
  BackgroundCommand holder({"qemu-io", "-r", "-f", "qcow2", path()});
  holder.send_line("read 0 4096");
  ASSERT_TRUE(holder.wait_for("read 4096")) << holder.output();
  open_with(path(), true);
  const Error error = error_of([&] { open_with(path(), false); });
  EXPECT_EQ(error.code(), Errc::in_use);
  EXPECT_NE(error.message().find("Failed to get \"write\" lock"), std::string::npos);
  EXPECT_EQ(holder.finish(), 0);
}

TEST_F(FileLock, RawWriterOfTheReferenceThatSharesWritingIsNoticed) {
  if (!test::have_command("qemu-io")) GTEST_SKIP() << "no reference to compare with";
  BackgroundCommand holder({"qemu-io", "-f", "raw", path()});
  holder.send_line("write 0 4096");
  ASSERT_TRUE(holder.wait_for("wrote 4096")) << holder.output();
  EXPECT_EQ(error_of([&] { open_with(path(), true); }).code(), Errc::in_use);
  EXPECT_EQ(holder.finish(), 0);
}

}  // namespace
}  // namespace qcowkit
