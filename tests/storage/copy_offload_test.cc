// Copies inside the kernel.
#include "storage/copy_offload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::TempDir;
using Bytes = std::vector<std::byte>;

Bytes pattern(std::size_t length) {
  Bytes bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 255);
  return bytes;
}

std::unique_ptr<Storage> create(const std::string& path, CacheMode cache = CacheMode::writeback) {
  FileOptions options;
  options.create = true;
  options.cache = cache;
  return open_file(path, options);
}

Bytes read_all(Storage& storage, std::uint64_t offset, std::size_t length) {
  Bytes bytes(length);
  storage.read(offset, bytes);
  return bytes;
}

struct Range {
  std::uint64_t source_offset;
  std::uint64_t offset;
  std::uint64_t length;
};

/// Copies as a caller does: what the kernel did not copy is read and written.
void expect_copy(Storage& source, Storage& target, const Range& range) {
  const Bytes expected = read_all(source, range.source_offset, range.length);
  const Bytes before = read_all(target, 0, range.offset);
  const std::uint64_t copied =
      target.copy_from(source, range.source_offset, range.offset, range.length);
  ASSERT_LE(copied, range.length);
  EXPECT_EQ(read_all(target, range.offset, copied),
            Bytes(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(copied)));
  EXPECT_EQ(read_all(target, 0, range.offset), before);
}

TEST(CopyFrom, FilesOfAnyAlignmentAreCopiedAsFarAsClaimed) {
  const TempDir folder;
  for (const CacheMode cache : {CacheMode::writeback, CacheMode::none, CacheMode::writethrough}) {
    try {
      const auto source = create(folder.file("source"), cache);
      const auto target = create(folder.file("target"), cache);
      source->write(0, pattern(1'000'001));
      for (const Range& range :
           {Range{0, 0, 1'000'001}, Range{0, 65'536, 65'536}, Range{100, 4196, 300'000},
            Range{1, 7, 9}, Range{5000, 1, 12'288}, Range{8192, 2'000'000, 100}}) {
        expect_copy(*source, *target, range);
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), std::errc::invalid_argument) << error.message();
    }
  }
}

TEST(CopyFrom, BufferedFilesOfOneFileSystemAreCopiedWhole) {
  const TempDir folder;
  const auto source = create(folder.file("source"));
  const auto target = create(folder.file("target"));
  source->write(0, pattern(500'000));
  const std::uint64_t copied = target->copy_from(*source, 1000, 3000, 400'000);
  if (copied == 0) GTEST_SKIP() << "the kernel does not copy here";
  EXPECT_EQ(copied, 400'000U);
  EXPECT_EQ(target->size(), 403'000U);
}

TEST(CopyFrom, NothingIsCopiedFromPastTheEnd) {
  const TempDir folder;
  const auto source = create(folder.file("source"));
  const auto target = create(folder.file("target"));
  source->write(0, pattern(10'000));
  EXPECT_EQ(target->copy_from(*source, 10'000, 0, 4096), 0U);
  EXPECT_EQ(target->copy_from(*source, 1 << 20, 0, 4096), 0U);
  EXPECT_EQ(target->copy_from(*source, ~std::uint64_t{0} - 1, 0, 4096), 0U);
  EXPECT_LE(target->copy_from(*source, 8192, 8192, 1 << 20), 10'000U - 8192U);
  EXPECT_LE(target->size(), 10'000U);
}

TEST(CloneFrom, WholeBlocksAreSharedOrNothingIsDone) {
  const TempDir folder;
  const auto source = create(folder.file("source"));
  const auto target = create(folder.file("target"));
  source->write(0, pattern(100'000));
  target->write(0, Bytes(300'000, std::byte{1}));
  const std::uint64_t cloned = target->clone_from(*source, 0, 131'072, 200'000);
  EXPECT_LE(cloned, 100'000U);
  EXPECT_EQ(cloned % 512, 0U);
  Bytes expected(300'000, std::byte{1});
  std::copy_n(pattern(100'000).begin(), cloned, expected.begin() + 131'072);
  EXPECT_EQ(read_all(*target, 0, 300'000), expected);
  // No block starts at these.
  EXPECT_EQ(target->clone_from(*source, 1, 131'072, 65'536), 0U);
  EXPECT_EQ(target->clone_from(*source, 1, 1, 65'536), 0U);
  EXPECT_EQ(target->clone_from(*source, 1 << 20, 0, 65'536), 0U);
  EXPECT_EQ(read_all(*target, 0, 300'000), expected);
}

TEST(CopyFrom, OtherStoragesAreNotCopied) {
  const TempDir folder;
  const auto file = create(folder.file("file"));
  const auto memory = make_memory_storage();
  memory->write(0, pattern(100));
  file->write(0, pattern(100));
  EXPECT_EQ(file->copy_from(*memory, 0, 0, 100), 0U);
  EXPECT_EQ(memory->copy_from(*file, 0, 0, 100), 0U);
  EXPECT_EQ(memory->copy_from(*memory, 0, 50, 50), 0U);
}

TEST(CopyFrom, RangesOfOneFileMayNotMixUpTheirBytes) {
  const TempDir folder;
  const auto file = create(folder.file("file"));
  file->write(0, pattern(100'000));
  expect_copy(*file, *file, {0, 200'000, 100'000});
  // Overlapping ranges are refused, and refused ranges are left alone.
  const std::uint64_t copied = file->copy_from(*file, 0, 10, 50'000);
  EXPECT_EQ(copied, 0U);
  EXPECT_EQ(read_all(*file, 0, 100'000), pattern(100'000));
}

TEST(CopyFrom, BetweenFileSystemsCopiesAsFarAsClaimed) {
  if (!std::filesystem::is_directory("/dev/shm")) GTEST_SKIP() << "no second file system";
  const TempDir here;
  const TempDir there("/dev/shm");
  const auto source = create(here.file("source"));
  const auto target = create(there.file("target"));
  source->write(0, pattern(300'000));
  for (int i = 0; i < 2; ++i) expect_copy(*source, *target, {0, 0, 300'000});
}

TEST(CopyFrom, CopiedBytesAreNotCalledAHole) {
  const TempDir folder;
  const auto source = create(folder.file("source"));
  const auto target = create(folder.file("target"));
  source->write(0, pattern(65'536));
  target->resize(1 << 20, Preallocation::off);
  EXPECT_TRUE(target->extent_at(131'072, 65'536).length_bytes > 0);
  if (target->copy_from(*source, 0, 131'072, 65'536) == 65'536) {
    EXPECT_FALSE(target->extent_at(131'072, 65'536).is_hole);
  }
}

}  // namespace
}  // namespace qcowkit
