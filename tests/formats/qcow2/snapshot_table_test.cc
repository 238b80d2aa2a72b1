// The snapshot table: what the reference wrote, round trips, each limit and one past, damage.
#include "formats/qcow2/snapshot_table.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <utility>

#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/header_fixture.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::qcow2 {
namespace {

constexpr std::uint64_t kTableOffset = 4 << 16;

/// A file that holds nothing but a snapshot table.
struct TableFile {
  explicit TableFile(std::span<const std::byte> table, std::uint32_t count, std::uint64_t size = 0)
      : storage(make_memory_storage()) {
    header.size = 1 << 20;
    header.nb_snapshots = count;
    header.snapshots_offset = {kTableOffset};
    storage->resize(size == 0 ? kTableOffset + table.size() : size, Preallocation::off);
    storage->write(kTableOffset, table);
  }
  SnapshotTable read(bool for_check = false) const {
    return read_snapshot_table(*storage, header, for_check);
  }

  Header header;
  std::unique_ptr<Storage> storage;
};

SnapshotEntry sample(const std::string& id, const std::string& name) {
  SnapshotEntry entry;
  entry.l1_table_offset = {8 << 16};
  entry.l1_size = 1;
  entry.id = id;
  entry.name = name;
  entry.date_seconds = 1700000000;
  entry.date_nanoseconds = 123456789;
  entry.vm_clock_nanoseconds = 987654321000;
  entry.vm_state_size_bytes = 5;
  entry.disk_size_bytes = 1 << 19;
  entry.icount = 42;
  entry.extra_data_bytes = 24;
  return entry;
}

/// The error of `action`, which must fail with `code` and begin its message with the table's name.
void expect_refused(const std::function<void()>& action, Errc code, const std::string& part) {
  try {
    action();
    FAIL() << "accepted, expected a message with: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.message();
    EXPECT_EQ(e.message().find("snapshot table"), 0u) << e.message();
    EXPECT_NE(e.message().find(part), std::string::npos) << e.message();
  }
}

std::vector<std::byte> encode_one(const SnapshotEntry& entry) {
  return encode_snapshot_table({&entry, 1});
}

TEST(SnapshotTable, EmptyTableIsReadWithoutLookingAtTheFile) {
  const auto storage = make_memory_storage();
  Header header;
  header.snapshots_offset = {1ull << 40};
  const SnapshotTable table = read_snapshot_table(*storage, header);
  EXPECT_TRUE(table.entries.empty());
  EXPECT_EQ(table.size_bytes, 0u);
}

TEST(SnapshotTable, EncodedEntriesDecodeToTheSame) {
  std::vector<SnapshotEntry> entries{sample("1", "first"), sample("2", "name of eight "),
                                     sample("", ""), sample(std::string(65535, 'i'), "long id")};
  entries[1].icount.reset();
  entries[1].vm_state_size_bytes = 1ull << 33;  // does not fit into the old field
  entries[2].unknown_extra_data.assign(1000, std::byte{0xab});
  entries[2].extra_data_bytes = 1024;
  const auto bytes = encode_snapshot_table(entries);
  const SnapshotTable table = TableFile(bytes, 4).read();
  EXPECT_EQ(table.entries, entries);
  EXPECT_EQ(table.size_bytes, bytes.size());
}

TEST(SnapshotTable, PaddingOfTheLastEntryMayBeMissing) {
  auto bytes = encode_one(sample("1", "x"));
  bytes.resize(40 + 24 + 2);
  EXPECT_EQ(TableFile(bytes, 1).read().entries.size(), 1u);
  bytes.pop_back();
  expect_refused([&] { TableFile(bytes, 1).read(); }, Errc::corrupt, "end in the file");
}

TEST(SnapshotTable, MissingExtraDataMeansTheOldFieldsAndTheImagesSize) {
  for (const std::uint32_t extra : {0u, 4u, 8u, 12u, 16u, 20u, 24u}) {
    SnapshotEntry entry = sample("1", "x");
    auto bytes = encode_one(entry);
    store_big_endian<std::uint32_t>(bytes.data() + 32, 7);  // the old VM state size
    store_big_endian<std::uint32_t>(bytes.data() + 36, extra);
    bytes.erase(bytes.begin() + 40 + extra, bytes.begin() + 64);
    bytes.resize(bytes.size() + 8);
    const SnapshotEntry found = TableFile(bytes, 1).read().entries.at(0);
    EXPECT_EQ(found.id, "1") << extra;
    EXPECT_EQ(found.extra_data_bytes, extra);
    EXPECT_EQ(found.vm_state_size_bytes, extra >= 8 ? 5u : 7u) << extra;
    EXPECT_EQ(found.disk_size_bytes, extra >= 16 ? 1u << 19 : 1u << 20) << extra;
    EXPECT_EQ(found.icount.has_value(), extra >= 24) << extra;
  }
}

TEST(SnapshotTable, ExtraDataHasAtMost1024Bytes) {
  SnapshotEntry entry = sample("1", "x");
  entry.unknown_extra_data.resize(1000);
  auto bytes = encode_one(entry);
  EXPECT_NO_THROW(TableFile(bytes, 1).read());
  for (const std::uint32_t size : {1025u, 0x80000000u, 0xffffffffu}) {
    store_big_endian(bytes.data() + 36, size);
    expect_refused([&] { TableFile(bytes, 1).read(); }, Errc::limit_exceeded,
                   fmt::format("entry 0: extra data size is {}, expected at most 1024", size));
  }
}

TEST(SnapshotTable, EntryBeyondTheFileIsCorruptAtEveryLength) {
  const std::vector<SnapshotEntry> entries{sample("1", "first"), sample("2", "second")};
  const auto bytes = encode_snapshot_table(entries);
  const std::size_t end = 72 + 40 + 24 + 1 + 6;  // without padding
  for (std::size_t length = 1; length < end; ++length) {
    const auto part = std::span(bytes).first(length);
    const TableFile file(part, 2);
    expect_refused([&] { file.read(); }, Errc::corrupt,
                   fmt::format("entry {}", length < 70 ? 0 : 1));
  }
  EXPECT_NO_THROW(TableFile(std::span(bytes).first(end), 2).read());
}

TEST(SnapshotTable, TableThatLiesBehindTheFileIsCorrupt) {
  TableFile file(encode_one(sample("1", "x")), 1);
  for (const std::uint64_t offset : {1ull << 40, (1ull << 63) - 65536}) {
    file.header.snapshots_offset = {offset};
    expect_refused([&] { file.read(); }, Errc::corrupt, "end in the file");
  }
}

TEST(SnapshotTable, TableHasAtMost64MiB) {
  SnapshotEntry entry = sample(std::string(65535, 'i'), std::string(65535, 'n'));
  const std::vector<SnapshotEntry> entries(513, entry);
  expect_refused([&] { encode_snapshot_table(entries); }, Errc::limit_exceeded,
                 "expected at most 67108864");
  const auto bytes = encode_snapshot_table(std::span(entries).first(511));
  EXPECT_EQ(TableFile(bytes, 511).read().entries.size(), 511u);
  // The file goes on, but the table may not.
  const TableFile file(bytes, 513, kTableOffset + (128 << 20));
  for (int i = 511; i < 513; ++i) {
    file.storage->write(kTableOffset + static_cast<std::uint64_t>(i) * bytes.size() / 511,
                        std::span(bytes).first(bytes.size() / 511));
  }
  expect_refused([&] { file.read(); }, Errc::limit_exceeded, "end in the table");
}

TEST(SnapshotTable, SixtyFiveThousandEntriesAreRead) {
  std::vector<SnapshotEntry> entries(kSnapshotsMax, sample("1", "x"));
  const auto bytes = encode_snapshot_table(entries);
  EXPECT_EQ(TableFile(bytes, kSnapshotsMax).read().entries.size(), kSnapshotsMax);
  entries.push_back(entries.back());
  expect_refused([&] { encode_snapshot_table(entries); }, Errc::limit_exceeded,
                 "65537 entries, expected at most 65536");
}

TEST(SnapshotTable, L1TableIsCheckedAtItsLimits) {
  struct Case {
    std::function<void(SnapshotEntry&)> change;
    Errc code;
    std::string message;
  };
  const std::vector<Case> cases{
      {[](auto& e) { e.l1_table_offset = {1}; }, Errc::corrupt, "L1 table offset is 1"},
      {[](auto& e) { e.l1_table_offset = {0}; }, Errc::corrupt, "L1 table offset is 0"},
      {[](auto& e) { e.l1_table_offset = {1ull << 63}; }, Errc::corrupt, "L1 table offset is"},
      {[](auto& e) { e.l1_table_offset = {0ull - 65536}; }, Errc::corrupt, "L1 table offset is"},
      {[](auto& e) { e.l1_size = (1u << 22) + 1; }, Errc::limit_exceeded,
       "L1 table size is 4194305, expected at most 4194304"},
      {[](auto& e) { e.l1_size = 0xffffffff; }, Errc::limit_exceeded, "L1 table size"},
      {[](auto& e) { e.l1_size = 0; }, Errc::corrupt, "L1 table size is 0, expected at least 1"},
      {[](auto& e) { e.disk_size_bytes = (1ull << 29) + 1; }, Errc::corrupt,
       "L1 table size is 1, expected at least 2"},
      {[](auto& e) { e.disk_size_bytes = ~0ull; }, Errc::limit_exceeded, "disk size"},
  };
  for (const Case& c : cases) {
    const std::vector<SnapshotEntry> entries{sample("1", "fine"), [&] {
                                               SnapshotEntry entry = sample("2", "damaged");
                                               c.change(entry);
                                               return entry;
                                             }()};
    const TableFile file(encode_snapshot_table(entries), 2);
    expect_refused([&] { file.read(); }, c.code, "entry 1: " + c.message);
    EXPECT_EQ(file.read(true).entries, entries) << c.message;
  }
  SnapshotEntry empty_disk = sample("1", "x");
  empty_disk.l1_size = 0;
  empty_disk.l1_table_offset = {0};
  empty_disk.disk_size_bytes = 0;
  EXPECT_NO_THROW(TableFile(encode_one(empty_disk), 1).read());
  SnapshotEntry largest = sample("1", "x");
  largest.l1_size = 1 << 22;
  EXPECT_NO_THROW(TableFile(encode_one(largest), 1).read());
}

TEST(SnapshotTable, TextsAndExtraDataThatDoNotFitAreNotEncoded) {
  SnapshotEntry entry = sample(std::string(65536, 'i'), "x");
  expect_refused([&] { encode_one(entry); }, Errc::limit_exceeded, "entry 0: id size is 65536");
  entry = sample("1", std::string(65536, 'n'));
  expect_refused([&] { encode_one(entry); }, Errc::limit_exceeded, "entry 0: name size is 65536");
  entry = sample("1", "x");
  entry.unknown_extra_data.resize(1001);
  expect_refused([&] { encode_one(entry); }, Errc::limit_exceeded, "extra data size is 1001");
}

TEST(SnapshotTable, RandomDamageIsRefusedOrDecodedNeverWorse) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  const std::vector<SnapshotEntry> entries{sample("1", "first"), sample("2", "second"),
                                           sample("3", "third")};
  const auto sound = encode_snapshot_table(entries);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    auto bytes = sound;
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    try {
      const SnapshotTable table = TableFile(bytes, 3).read(random() % 2 == 0);
      ++accepted;
      EXPECT_LE(encode_snapshot_table(table.entries).size(), table.size_bytes + 3 * 32);
    } catch (const Error& e) {
      EXPECT_EQ(e.message().find("snapshot table"), 0u) << e.message();
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(SnapshotTable, ReadsWhatTheReferenceWrote) {
  if (!test::have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  for (const std::string compat : {"0.10", "1.1"}) {
    const test::TempDir directory;
    const std::string path = directory.file("image.qcow2");
    ASSERT_TRUE(
        test::run({"qemu-img", "create", "-qf", "qcow2", "-o", "compat=" + compat, path, "3M"})
            .ok());
    for (const std::string name : {"one", "another name"}) {
      ASSERT_TRUE(test::run({"qemu-img", "snapshot", "-c", name, path}).ok());
    }
    const auto storage = open_file(path, {.read_only = true});
    std::vector<std::byte> first(65536);
    storage->read(0, first);
    const Header header = Header::decode(first);
    const SnapshotTable table = read_snapshot_table(*storage, header);
    ASSERT_EQ(table.entries.size(), 2u);
    EXPECT_EQ(table.entries[0].id, "1");
    EXPECT_EQ(table.entries[0].name, "one");
    EXPECT_EQ(table.entries[1].id, "2");
    EXPECT_EQ(table.entries[1].name, "another name");
    EXPECT_EQ(table.entries[1].disk_size_bytes, 3u << 20);
    EXPECT_EQ(table.entries[1].l1_size, 1u);
    EXPECT_GT(table.entries[1].date_seconds, 0u);
    // Ours is the same, byte by byte.
    std::vector<std::byte> theirs(table.size_bytes);
    storage->read(header.snapshots_offset.value, theirs);
    EXPECT_EQ(encode_snapshot_table(table.entries), theirs);
  }
}

}  // namespace
}  // namespace qcowkit::qcow2
