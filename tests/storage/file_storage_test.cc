// Files: how they are opened, what each cache mode and each kind of file means.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/file_backed.h"
#include "qcowkit/storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::TempDir;
using Bytes = std::vector<std::byte>;

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return Error(std::error_code(), "no error");
}

FileOptions creating(CacheMode cache = CacheMode::writeback) {
  FileOptions options;
  options.create = true;
  options.cache = cache;
  return options;
}

FileOptions reading() {
  FileOptions options;
  options.read_only = true;
  return options;
}

void make_file(const std::string& path, const std::string& content) {
  std::ofstream(path) << content;
}

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(OpenFile, MissingFileKeepsItsErrno) {
  const TempDir folder;
  const Error error = error_of([&] { open_file(folder.file("none"), {}); });
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error.message(),
            "Could not open '" + folder.file("none") + "': No such file or directory");
}

TEST(OpenFile, CreatingInAMissingFolderSaysCreate) {
  const TempDir folder;
  const Error error = error_of([&] { open_file(folder.file("none/file"), creating()); });
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error.message(),
            "Could not create '" + folder.file("none/file") + "': No such file or directory");
}

TEST(OpenFile, FolderIsRefused) {
  const TempDir folder;
  for (const FileOptions& options : {FileOptions{}, reading(), creating()}) {
    const Error error = error_of([&] { open_file(folder.path().string(), options); });
    EXPECT_EQ(error.code(), std::errc::is_a_directory) << error.message();
  }
}

TEST(OpenFile, PipeIsRefusedWithoutWaitingForItsOtherEnd) {
  const TempDir folder;
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  for (const FileOptions& options : {FileOptions{}, reading(), creating()}) {
    const Error error = error_of([&] { open_file(folder.file("pipe"), options); });
    EXPECT_EQ(error.code(), Errc::unsupported) << error.message();
    EXPECT_NE(error.message().find("a pipe"), std::string::npos) << error.message();
  }
}

TEST(OpenFile, CharacterDeviceHasNoSizeAndCannotGrow) {
  const auto storage = open_file("/dev/null", {});
  EXPECT_EQ(storage->size(), 0);
  EXPECT_FALSE(storage->can_grow());
  storage->flush();
  storage->discard(0, 4096);
  const Error error = error_of([&] { storage->resize(4096, Preallocation::off); });
  EXPECT_EQ(error.message(), "/dev/null: Cannot grow device files");
  EXPECT_EQ(error_of([&] { storage->write_zeroes(0, 4096, {.may_unmap = true}); }).code(),
            std::errc::no_space_on_device);
  storage->close();
}

TEST(OpenFile, ContradictingOptionsAreRefused) {
  const TempDir folder;
  FileOptions options = reading();
  options.create = true;
  EXPECT_EQ(error_of([&] { open_file(folder.file("a"), options); }).code(), Errc::invalid_argument);
  FileOptions sharing;
  sharing.locking = Locking::force_share;
  EXPECT_EQ(error_of([&] { open_file(folder.file("a"), sharing); }).code(), Errc::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(folder.file("a")));
}

TEST(OpenFile, CreateEmptiesAnExistingFile) {
  const TempDir folder;
  make_file(folder.file("a"), "some content");
  EXPECT_EQ(open_file(folder.file("a"), creating())->size(), 0U);
  EXPECT_EQ(std::filesystem::file_size(folder.file("a")), 0U);
}

TEST(OpenFile, CreatedFileIsReadableByAllAndWritableByItsOwner) {
  const TempDir folder;
  const mode_t umask_before = ::umask(0);
  open_file(folder.file("a"), creating());
  ::umask(umask_before);
  struct stat status {};
  ASSERT_EQ(::stat(folder.file("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644U);
}

TEST(OpenFile, FileSystemWithoutDirectIoSaysSo) {
  // procfs holds regular files that are never open with O_DIRECT.
  FileOptions options = reading();
  options.cache = CacheMode::none;
  const std::string path = "/proc/version";
  if (::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC) >= 0 || errno != EINVAL) {
    GTEST_SKIP() << path << " can be read directly";
  }
  const Error error = error_of([&] { open_file(path, options); });
  EXPECT_EQ(error.code(), std::errc::invalid_argument);
  EXPECT_NE(error.message().find("does not support O_DIRECT"), std::string::npos)
      << error.message();
}

TEST(FileStorage, ReadOnlyFileRefusesEveryChange) {
  const TempDir folder;
  make_file(folder.file("a"), "content");
  const auto file = open_file(folder.file("a"), reading());
  const auto source = make_memory_storage();
  EXPECT_TRUE(file->is_read_only());
  for (const std::function<void()>& change : std::vector<std::function<void()>>{
           [&] { file->write(0, Bytes(1)); }, [&] { file->write_zeroes(0, 1, {}); },
           [&] { file->discard(0, 1); }, [&] { file->resize(0, Preallocation::off); },
           [&] { file->copy_from(*source, 0, 0, 1); }}) {
    EXPECT_EQ(error_of(change).code(), Errc::read_only);
  }
  file->flush();
  file->close();
  EXPECT_EQ(content_of(folder.file("a")), "content");
}

TEST(FileStorage, EveryCacheModeWritesTheSameFile) {
  const TempDir folder;
  for (const CacheMode cache : {CacheMode::writeback, CacheMode::none, CacheMode::writethrough,
                                CacheMode::directsync, CacheMode::unsafe}) {
    try {
      const auto file = open_file(folder.file("a"), creating(cache));
      file->write(3, std::as_bytes(std::span<const char>("abc", 3)));
      file->flush();
      file->close();
      EXPECT_EQ(content_of(folder.file("a")), std::string("\0\0\0abc", 6));
    } catch (const Error& error) {
      // Not every file system knows O_DIRECT.
      EXPECT_EQ(error.code(), std::errc::invalid_argument) << error.message();
    }
  }
}

TEST(FileStorage, ClosedFileCannotBeUsed) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->close();
  EXPECT_EQ(error_of([&] { file->write(0, Bytes(1)); }).code(), std::errc::bad_file_descriptor);
  EXPECT_EQ(error_of([&] { file->flush(); }).code(), std::errc::bad_file_descriptor);
}

TEST(FileStorage, ErrorsNameTheFileTheOperationAndTheRange) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->close();
  Bytes byte(1);
  EXPECT_EQ(error_of([&] { file->read(7, byte); }).message(),
            folder.file("a") + ": read 1 bytes at offset 7: Bad file descriptor");
}

TEST(FileStorage, FailedFlushStaysFailed) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->close();
  const Error first = error_of([&] { file->flush(); });
  const Error second = error_of([&] { file->flush(); });
  EXPECT_EQ(first.code(), std::errc::bad_file_descriptor);
  EXPECT_EQ(second.code(), first.code());
}

TEST(FileStorage, HolesTakeNoSpace) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->resize(1 << 20, Preallocation::off);
  const std::uint64_t sparse = file->allocated_bytes();
  file->write(0, Bytes(1 << 20, std::byte{1}));
  file->flush();
  const std::uint64_t full = file->allocated_bytes();
  if (full <= sparse) GTEST_SKIP() << "the file system does not tell";
  EXPECT_GE(full, 1U << 20);
  if (!file->write_zeroes(1 << 16, 1 << 19, {.may_unmap = true, .no_fallback = true})) {
    GTEST_SKIP() << "the file system has no holes";
  }
  file->flush();
  EXPECT_LE(file->allocated_bytes(), full - (1 << 19));
  const StorageExtent hole = file->extent_at(1 << 16, 1 << 20);
  EXPECT_TRUE(hole.is_hole);
  EXPECT_EQ(hole.length_bytes, 1U << 19);
}

TEST(FileStorage, ZeroesThatMayNotBeUnmappedKeepTheirSpace) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->write(0, Bytes(1 << 20, std::byte{1}));
  file->flush();
  const std::uint64_t full = file->allocated_bytes();
  file->write_zeroes(1 << 16, 1 << 19, {.may_unmap = false});
  file->flush();
  EXPECT_GE(file->allocated_bytes(), full);
}

TEST(FileStorage, PreallocationTakesSpace) {
  const TempDir folder;
  for (const Preallocation mode : {Preallocation::falloc, Preallocation::full}) {
    const auto file = open_file(folder.file("a"), creating());
    file->resize(1 << 20, mode);
    file->flush();
    EXPECT_GE(file->allocated_bytes(), 1U << 20);
  }
}

/// Files of this process may not grow beyond a size while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(FileStorage, FailedPreallocationLeavesTheOldSize) {
  const TempDir folder;
  const auto file = open_file(folder.file("a"), creating());
  file->write(0, Bytes(1000, std::byte{1}));
  const FileSizeLimit limit(1 << 20);
  for (const Preallocation mode : {Preallocation::falloc, Preallocation::full}) {
    EXPECT_EQ(error_of([&] { file->resize(8 << 20, mode); }).code(), std::errc::file_too_large);
    EXPECT_EQ(file->size(), 1000U);
  }
}

TEST(FileStorage, WriteThatDoesNotFitFails) {
  const TempDir folder;
  for (const CacheMode cache : {CacheMode::writeback, CacheMode::none}) {
    std::unique_ptr<Storage> file;
    try {
      file = open_file(folder.file("a"), creating(cache));
    } catch (const Error&) {
      continue;  // no O_DIRECT here
    }
    const FileSizeLimit limit(1 << 20);
    EXPECT_EQ(error_of([&] { file->write((1 << 20) - 700, Bytes(5000)); }).code(),
              std::errc::file_too_large);
    EXPECT_LE(file->size(), 1U << 20);
    file->write(0, Bytes(5000));
  }
}

FileBacked::Run cached_run(const Storage& storage, std::uint64_t offset, std::uint64_t length) {
  const auto* const backed = dynamic_cast<const FileBacked*>(&storage);
  return backed == nullptr ? FileBacked::Run() : backed->cached_run(offset, length);
}

TEST(FileStorage, WhatWasJustWrittenIsCachedAndNoMoreThanAskedFor) {
  const TempDir folder;
  const auto file = open_file(folder.file("disk"), creating());
  constexpr std::uint64_t kBytes = 1 << 20;
  file->write(0, Bytes(kBytes, std::byte{7}));
  if (cached_run(*file, 0, 1).length_bytes == 0) GTEST_SKIP() << "unknown to the file system";
  const FileBacked::Run run = cached_run(*file, 4096, kBytes - 4096);
  EXPECT_EQ(run.length_bytes, kBytes - 4096);
  std::byte byte{};
  EXPECT_EQ(::pread(run.descriptor, &byte, 1, 4096), 1);
  EXPECT_EQ(byte, std::byte{7});
  EXPECT_EQ(cached_run(*file, 0, 0).length_bytes, 0u);
}

TEST(FileStorage, ThatBypassesTheCacheHasNothingCached) {
  const TempDir folder;
  make_file(folder.file("disk"), std::string(8192, 'x'));
  FileOptions options = reading();
  options.cache = CacheMode::none;
  std::unique_ptr<Storage> file;
  const Error error = error_of([&] { file = open_file(folder.file("disk"), options); });
  if (!file) GTEST_SKIP() << error.message();
  EXPECT_EQ(cached_run(*file, 0, 4096).length_bytes, 0u);
}

}  // namespace
}  // namespace qcowkit
