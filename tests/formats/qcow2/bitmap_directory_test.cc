// The bitmap directory and bitmap tables: what the reference wrote, round trips, each limit and one
// past, damage.
#include "formats/qcow2/bitmap_directory.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kDirectoryOffset = 5 << 16;
constexpr Geometry kGeometry(16, 4, false);

/// A file that holds nothing but a bitmap directory.
struct DirectoryFile {
  DirectoryFile(std::span<const std::byte> directory, std::uint32_t count)
      : storage(make_memory_storage()) {
    header.size = 1 << 20;
    header.bitmaps = BitmapsExtension{count, directory.size(), {kDirectoryOffset}};
    storage->write(kDirectoryOffset, directory);
  }
  std::vector<BitmapEntry> read() const { return read_bitmap_directory(*storage, header); }

  Header header;
  std::unique_ptr<Storage> storage;
};

BitmapEntry sample(const std::string& name) {
  BitmapEntry entry;
  entry.table_offset = {9 << 16};
  entry.table_entries = 1;
  entry.automatic = true;
  entry.name = name;
  return entry;
}

std::vector<std::byte> encode_one(const BitmapEntry& entry) {
  return encode_bitmap_directory({&entry, 1});
}

void expect_refused(const std::function<void()>& action, Errc code, const std::string& part) {
  try {
    action();
    FAIL() << "accepted, expected a message with: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.message();
    EXPECT_NE(e.message().find(part), std::string::npos) << e.message();
  }
}

/// Refused if the `size` bytes at `offset` of a sound entry are `value`.
template <typename T>
void expect_field_refused(std::size_t offset, T value, Errc code, const std::string& part) {
  auto bytes = encode_one(sample("name"));
  store_big_endian(bytes.data() + offset, value);
  expect_refused([&] { DirectoryFile(bytes, 1).read(); }, code,
                 "bitmap directory: entry 0: " + part);
}

void expect_byte_refused(std::size_t offset, std::uint32_t value, Errc code,
                         const std::string& part) {
  auto bytes = encode_one(sample("name"));
  bytes[offset] = static_cast<std::byte>(value);
  expect_refused([&] { DirectoryFile(bytes, 1).read(); }, code,
                 "bitmap directory: entry 0: " + part);
}

TEST(BitmapDirectory, ImageWithoutBitmapsHasNone) {
  const auto storage = make_memory_storage();
  EXPECT_TRUE(read_bitmap_directory(*storage, Header()).empty());
}

TEST(BitmapDirectory, EncodedEntriesDecodeToTheSame) {
  std::vector<BitmapEntry> entries{sample("a"), sample("eight__8"), sample(std::string(1023, 'x'))};
  entries[0].granularity_bits = 9;
  entries[1].granularity_bits = 31;
  entries[1].automatic = false;
  entries[1].in_use = true;
  entries[1].table_entries = 77;
  entries[2].extra_data.assign(13, std::byte{0xcd});
  entries[2].extra_data_compatible = true;
  const auto bytes = encode_bitmap_directory(entries);
  EXPECT_EQ(DirectoryFile(bytes, 3).read(), entries);
  EXPECT_EQ(entries[0].granularity_bytes(), 512u);
}

TEST(BitmapDirectory, BitmapIsUsableIfSavedAndUnderstood) {
  BitmapEntry entry = sample("a");
  EXPECT_TRUE(entry.usable());
  entry.in_use = true;
  EXPECT_FALSE(entry.usable());
  entry.in_use = false;
  entry.extra_data.resize(1);
  EXPECT_FALSE(entry.usable());
  entry.extra_data_compatible = true;
  EXPECT_TRUE(entry.usable());
}

TEST(BitmapDirectory, FixedFieldsAreCheckedAtTheirLimits) {
  expect_field_refused<std::uint64_t>(0, 1, Errc::corrupt, "bitmap_table_offset is 1");
  expect_field_refused<std::uint64_t>(0, 512, Errc::corrupt, "bitmap_table_offset is 512");
  expect_field_refused<std::uint64_t>(0, 0, Errc::corrupt, "bitmap_table_offset is 0");
  expect_field_refused<std::uint32_t>(8, kBitmapTableEntriesMax + 1, Errc::limit_exceeded,
                                      "bitmap_table_size is 134217729, expected at most 134217728");
  expect_field_refused<std::uint32_t>(8, 0, Errc::corrupt,
                                      "bitmap_table_size is 0, expected 1 for the size 1048576");
  expect_field_refused<std::uint32_t>(8, 2, Errc::corrupt, "bitmap_table_size is 2, expected 1");
  for (std::uint32_t bit = 3; bit < 32; ++bit) {
    expect_field_refused<std::uint32_t>(12, 1u << bit, Errc::corrupt, "flags is");
  }
  for (const std::uint32_t type : {0u, 2u, 255u}) {
    expect_byte_refused(16, type, Errc::unsupported, "type is");
  }
  expect_byte_refused(17, 8, Errc::limit_exceeded, "granularity_bits is 8, expected 9 to 31");
  expect_byte_refused(17, 32, Errc::limit_exceeded, "granularity_bits is 32");
  expect_byte_refused(17, 63, Errc::limit_exceeded, "granularity_bits is 63");
  expect_byte_refused(17, 64, Errc::corrupt, "granularity_bits is 64");
  expect_field_refused<std::uint16_t>(18, 0, Errc::corrupt, "name_size is 0, expected at least 1");
  expect_field_refused<std::uint16_t>(18, 1024, Errc::limit_exceeded,
                                      "name_size is 1024, expected at most 1023");
  expect_field_refused<std::uint16_t>(18, 9, Errc::corrupt, "size of extra data and name is 9");
  for (const std::uint32_t size : {5u, 0x7fffffffu, 0xfffffff8u, 0xffffffffu}) {
    expect_field_refused<std::uint32_t>(20, size, Errc::corrupt, "size of extra data and name is");
  }
}

TEST(BitmapDirectory, NamesHaveNoZeroBytesAndPaddingHasNoOthers) {
  auto bytes = encode_one(sample("name"));
  bytes[25] = std::byte{0};
  expect_refused([&] { DirectoryFile(bytes, 1).read(); }, Errc::corrupt,
                 "first zero byte of the name is 1");
  bytes = encode_one(sample("name"));
  bytes[31] = std::byte{1};
  expect_refused([&] { DirectoryFile(bytes, 1).read(); }, Errc::corrupt, "padding");
}

TEST(BitmapDirectory, NamesAreUnique) {
  const std::vector<BitmapEntry> entries{sample("a"), sample("b"), sample("a")};
  const auto bytes = encode_bitmap_directory(entries);
  expect_refused([&] { DirectoryFile(bytes, 3).read(); }, Errc::corrupt, "entry 2");
}

TEST(BitmapDirectory, EntriesFillTheDirectoryExactly) {
  const std::vector<BitmapEntry> entries{sample("a"), sample("b")};
  const auto bytes = encode_bitmap_directory(entries);
  EXPECT_NO_THROW(DirectoryFile(bytes, 2).read());
  expect_refused([&] { DirectoryFile(bytes, 3).read(); }, Errc::corrupt,
                 "entry 2: bytes left in the directory is 0, expected at least 24");
  expect_refused([&] { DirectoryFile(bytes, 1).read(); }, Errc::corrupt, "32 bytes follow");
  for (std::size_t length = 1; length < bytes.size(); ++length) {
    EXPECT_THROW(DirectoryFile(std::span(bytes).first(length), 2).read(), Error) << length;
  }
}

TEST(BitmapDirectory, DirectoryBehindTheFileIsCorrupt) {
  DirectoryFile file(encode_one(sample("a")), 1);
  file.header.bitmaps->bitmap_directory_size += 1;
  expect_refused([&] { file.read(); }, Errc::corrupt, "expected to end in the file");
  file.header.bitmaps->bitmap_directory_offset = {(1ull << 63) - 65536};
  expect_refused([&] { file.read(); }, Errc::corrupt, "expected to end in the file");
}

TEST(BitmapDirectory, WhatIsTooLongIsNotEncoded) {
  expect_refused([] { encode_one(sample(std::string(1024, 'x'))); }, Errc::limit_exceeded,
                 "name_size is 1024");
  const std::vector<BitmapEntry> entries(65536, sample("x"));
  expect_refused([&] { encode_bitmap_directory(entries); }, Errc::limit_exceeded, "65536 entries");
  EXPECT_NO_THROW(encode_bitmap_directory(std::span(entries).first(65535)));
}

TEST(BitmapDirectory, TableEntriesCoverTheDisk) {
  EXPECT_EQ(bitmap_table_entries_for(0, 16, kGeometry), 0u);
  EXPECT_EQ(bitmap_table_entries_for(1, 16, kGeometry), 1u);
  // A cluster of 64 KiB holds 2^19 bits, of 64 KiB each.
  EXPECT_EQ(bitmap_table_entries_for(1ull << 35, 16, kGeometry), 1u);
  EXPECT_EQ(bitmap_table_entries_for((1ull << 35) + 1, 16, kGeometry), 2u);
  EXPECT_EQ(bitmap_table_entries_for(kVirtualSizeMax, 31, kGeometry), 1u << 12);
}

TEST(BitmapDirectory, RandomDamageIsRefusedOrDecodedNeverWorse) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  const std::vector<BitmapEntry> entries{sample("first"), sample("second"), sample("third")};
  const auto sound = encode_bitmap_directory(entries);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    auto bytes = sound;
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    try {
      const auto found = DirectoryFile(bytes, 3).read();
      ++accepted;
      EXPECT_EQ(encode_bitmap_directory(found), bytes);
    } catch (const Error& e) {
      EXPECT_EQ(e.message().find("bitmap directory"), 0u) << e.message();
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(BitmapTable, EncodedEntriesDecodeToTheSame) {
  const std::vector<BitmapTableEntry> entries{
      BitmapTableEntry::all(false), BitmapTableEntry::all(true),
      BitmapTableEntry::cluster({7 << 16}), BitmapTableEntry::cluster({(1ull << 56) - 65536})};
  const auto storage = make_memory_storage();
  BitmapEntry bitmap = sample("x");
  bitmap.table_entries = 4;
  storage->write(bitmap.table_offset.value, encode_bitmap_table(entries));
  EXPECT_EQ(read_bitmap_table(*storage, bitmap, kGeometry), entries);
  EXPECT_TRUE(entries[1].is_all_ones() && !entries[1].has_cluster());
  EXPECT_EQ(entries[2].host_offset().value, 7u << 16);
}

TEST(BitmapTable, InvalidEntriesAreCorrupt) {
  const auto storage = make_memory_storage();
  BitmapEntry bitmap = sample("x");
  const auto expect_invalid = [&](std::uint64_t raw) {
    const BitmapTableEntry entry(raw);
    EXPECT_FALSE(entry.is_valid(kGeometry)) << fmt::format("{:#x}", raw);
    storage->write(bitmap.table_offset.value, encode_bitmap_table({&entry, 1}));
    expect_refused([&] { read_bitmap_table(*storage, bitmap, kGeometry); }, Errc::corrupt,
                   fmt::format("table of bitmap 'x': entry 0 is {:#x}", raw));
  };
  for (std::uint32_t bit = 1; bit < 9; ++bit) expect_invalid(1ull << bit);
  for (std::uint32_t bit = 9; bit < 16; ++bit) expect_invalid(1ull << bit);  // unaligned
  for (std::uint32_t bit = 56; bit < 64; ++bit) expect_invalid(1ull << bit);
  expect_invalid(1 << 16 | BitmapTableEntry::kAllOnes);
}

TEST(BitmapTable, TableBehindTheFileIsCorrupt) {
  const auto storage = make_memory_storage();
  const BitmapEntry bitmap = sample("x");
  storage->resize(bitmap.table_offset.value + 7, Preallocation::off);
  expect_refused([&] { read_bitmap_table(*storage, bitmap, kGeometry); }, Errc::corrupt,
                 "table of bitmap 'x': 8 bytes at 589824, expected to end in the file");
}

TEST(BitmapDirectory, ReadsWhatTheReferenceWrote) {
  if (!test::have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  const test::TempDir directory;
  const std::string path = directory.file("image.qcow2");
  const auto run = [](const std::vector<std::string>& argv) {
    const auto result = test::run(argv);
    ASSERT_TRUE(result.ok()) << result.err;
  };
  run({"qemu-img", "create", "-qf", "qcow2", path, "100M"});
  run({"qemu-img", "bitmap", "--add", path, "first"});
  run({"qemu-img", "bitmap", "--add", "--disable", "-g", "512", path, "of 512 bytes"});
  const auto storage = open_file(path, {.read_only = true});
  std::vector<std::byte> first(65536);
  storage->read(0, first);
  const Header header = Header::decode(first);
  const auto entries = read_bitmap_directory(*storage, header);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "first");
  EXPECT_TRUE(entries[0].automatic);
  EXPECT_EQ(entries[0].granularity_bytes(), 65536u);
  EXPECT_EQ(entries[1].name, "of 512 bytes");
  EXPECT_FALSE(entries[1].automatic);
  EXPECT_EQ(entries[1].granularity_bytes(), 512u);
  for (const BitmapEntry& entry : entries) {
    EXPECT_EQ(read_bitmap_table(*storage, entry, header.geometry()).size(), 1u);
  }
  std::vector<std::byte> theirs(header.bitmaps->bitmap_directory_size);
  storage->read(header.bitmaps->bitmap_directory_offset.value, theirs);
  EXPECT_EQ(encode_bitmap_directory(entries), theirs);
}

}  // namespace
}  // namespace qcowkit::qcow2
