// Opening images, sound and damaged.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <fstream>
#include <random>

#include "base/endian.h"
#include "tests/image/small_image.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"
#include "tests/support/sanitized.h"

namespace qcowkit {
namespace {

using test::error_of;
using test::mentions;
using test::SmallImage;

OpenOptions writable() {
  OpenOptions options;
  options.read_only = false;
  return options;
}

// --- Sound images ------------------------------------------------------------------------------

TEST(Open, AFormatThatIsNotGivenIsFoundOut) {
  auto raw = make_memory_storage("disk.raw");
  raw->resize(1024, Preallocation::off);
  EXPECT_EQ(Image::open(std::move(raw))->format(), "raw");

  auto storage = make_memory_storage("disk.qcow2");
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = 1 << 20;
  Image::create(*storage, options);
  EXPECT_EQ(Image::open(std::move(storage))->format(), "qcow2");
}

TEST(Open, ImagesOfOtherFormatsAreNotTakenForRawOnes) {
  auto storage = make_memory_storage("disk.vmdk");
  storage->write(0, std::as_bytes(std::span("KDMV", 4)));
  const Error error = error_of([&] { Image::open(std::move(storage)); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_TRUE(mentions(error, {"disk.vmdk", "vmdk"}));
}

TEST(Open, RawThatWasAskedForIsNotFoundOut) {
  SmallImage small;
  OpenOptions options;
  options.format = "raw";
  const auto image = Image::open(small.storage().clone(), options);
  EXPECT_EQ(image->format(), "raw");
  EXPECT_EQ(image->cluster_size(), 0u);
}

TEST(Open, AReadOnlyImageIsNeverWritten) {
  SmallImage small;
  std::vector<std::byte> before(small.storage().size());
  small.storage().read(0, before);
  {
    const auto image = small.open();
    const auto bytes = test::make_content(1, 4096);
    EXPECT_EQ(error_of([&] { image->write(0, bytes); }).code(), Errc::read_only);
    EXPECT_EQ(error_of([&] { image->write_zeroes(0, 4096, true); }).code(), Errc::read_only);
    EXPECT_EQ(error_of([&] { image->discard(0, 4096); }).code(), Errc::read_only);
    EXPECT_EQ(error_of([&] { image->write_compressed(0, image->compress(bytes), bytes); }).code(),
              Errc::read_only);
    EXPECT_EQ(error_of([&] { image->write_in_place(0, 4096, [](auto&&...) {}); }).code(),
              Errc::read_only);
    image->flush();
    image->close();
  }
  std::vector<std::byte> after(small.storage().size());
  small.storage().read(0, after);
  EXPECT_TRUE(before == after);
}

TEST(Open, ARangeBeyondTheEndIsAnInvalidArgument) {
  const auto image = SmallImage().open_for_writing();
  std::vector<std::byte> bytes(1024);
  const std::uint64_t size = image->virtual_size();
  for (const std::uint64_t offset : {size - 1023, size, size + 1, ~std::uint64_t{0}}) {
    SCOPED_TRACE(offset);
    EXPECT_EQ(error_of([&] { image->read(offset, bytes); }).code(), Errc::invalid_argument);
    EXPECT_EQ(error_of([&] { image->write(offset, bytes); }).code(), Errc::invalid_argument);
    EXPECT_EQ(error_of([&] { image->discard(offset, 1024); }).code(), Errc::invalid_argument);
    EXPECT_EQ(error_of([&] { image->map(offset, 1024); }).code(), Errc::invalid_argument);
  }
  image->read(size - 1024, bytes);
}

TEST(Open, ADiskOfNoBytesOpensAndCloses) {
  auto storage = std::make_shared<MemoryStorage>("empty.qcow2");
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = 0;
  Image::create(*storage, options);
  const auto image = Image::open(std::make_unique<test::FaultStorage>(storage), writable());
  EXPECT_EQ(image->virtual_size(), 0u);
  image->write(0, {});
  image->write_zeroes(0, 0, true);
  EXPECT_EQ(image->check().corruptions, 0u);
  image->close();
}

constexpr bool kCountsMemory = !test::kIsSanitized;  // sanitizers keep what has been freed

/// Bytes that this process keeps in memory.
std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST(Open, SixteenTebibytesTakeNoTimeAndLittleMemory) {
  constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;
  constexpr std::uint64_t kCacheBytes = 4 << 20;
  auto storage = std::make_shared<MemoryStorage>("huge.qcow2");
  CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = 16 * kTiB;
  Image::create(*storage, create);
  OpenOptions options = writable();
  options.l2_cache_bytes = kCacheBytes;
  std::mt19937_64 random(1);
  constexpr int kPlaces = 4000;
  std::vector<std::uint64_t> places(kPlaces);
  {
    const auto image = Image::open(std::make_unique<test::FaultStorage>(storage), options);
    for (std::uint64_t& place : places) {
      place = random() % (16 * kTiB / 4096) * 4096;
      const be64 mark = place;
      image->write(place, std::as_bytes(std::span(&mark, 1)));
    }
    image->close();
  }

  const std::uint64_t before = resident_bytes();
  const auto start = std::chrono::steady_clock::now();
  options.read_only = true;
  const auto image = Image::open(std::make_unique<test::FaultStorage>(storage), options);
  const auto opened = std::chrono::steady_clock::now();
  for (int round = 0; round < 2; ++round) {
    for (const std::uint64_t place : places) {
      be64 mark = 0;
      image->read(place, std::as_writable_bytes(std::span(&mark, 1)));
      ASSERT_EQ(mark, place);
    }
  }
  // The L1 table, 256 KiB, and what the heap adds.
  constexpr std::uint64_t kMargin = 6 << 20;
  const std::uint64_t after = resident_bytes();
  if (kCountsMemory) {
    EXPECT_LT(after, before + kCacheBytes + kMargin);
  }
  EXPECT_LT(opened - start, std::chrono::milliseconds(500)) << "generous for a loaded machine";
}

// --- Damaged headers ---------------------------------------------------------------------------

TEST(OpenDamaged, TruncatedAtAnyLengthThrowsOrReads) {
  SmallImage small;
  const std::uint64_t size = small.storage().size();
  std::vector<std::uint64_t> lengths;
  for (std::uint64_t length = 0; length <= 120; ++length) lengths.push_back(length);
  for (std::uint64_t length = 128; length < size; length += 509) lengths.push_back(length);
  for (const std::uint64_t length : lengths) {
    SCOPED_TRACE(length);
    const std::shared_ptr<Storage> cut = small.storage().clone();
    cut->resize(length, Preallocation::off);
    for (const bool read_only : {true, false}) {
      OpenOptions options;
      options.format = "qcow2";
      options.read_only = read_only;
      try {
        const auto image = Image::open(std::make_unique<test::FaultStorage>(cut), options);
        EXPECT_GT(length, small.l1_table()) << "the L1 table has been cut off";
        test::read_everything(*image);
        if (!read_only) image->write(0, test::make_content(1, 10000));
        image->close();
      } catch (const Error& error) {
        EXPECT_TRUE(mentions(error, {"small.qcow2"}));
      }
    }
  }
}

struct BadField {
  const char* name;
  std::uint64_t host_offset;
  int bytes;
  std::uint64_t value;
  Errc code;
  std::vector<std::string> words;
};

TEST(OpenDamaged, AHeaderFieldOutOfBoundsIsNamedWithItsValue) {
  const std::uint64_t all = ~std::uint64_t{0};
  const std::vector<BadField> fields = {
      {"magic", 0, 4, 0x51464900, Errc::not_an_image, {}},
      {"version 0", 4, 4, 0, Errc::unsupported, {"version", "0"}},
      {"version 1", 4, 4, 1, Errc::unsupported, {"version", "1"}},
      {"version 4", 4, 4, 4, Errc::unsupported, {"version", "4"}},
      {"version max", 4, 4, all, Errc::unsupported, {"version", "4294967295"}},
      {"backing offset", 8, 8, 4097, Errc::corrupt, {"backing_file_size"}},
      {"backing offset max", 8, 8, all, Errc::corrupt, {"backing_file"}},
      {"cluster_bits 0", 20, 4, 0, Errc::corrupt, {"cluster_bits", "9"}},
      {"cluster_bits 8", 20, 4, 8, Errc::corrupt, {"cluster_bits", "8"}},
      {"cluster_bits 22", 20, 4, 22, Errc::limit_exceeded, {"cluster_bits", "22"}},
      {"cluster_bits 64", 20, 4, 64, Errc::limit_exceeded, {"cluster_bits", "64"}},
      {"size", 24, 8, all, Errc::limit_exceeded, {"size"}},
      {"size above L1", 24, 8, (4 << 20) + 1, Errc::corrupt, {"l1_size", "at least 3"}},
      {"crypt_method", 32, 4, 3, Errc::unsupported, {"crypt_method", "3"}},
      {"crypt_method max", 32, 4, all, Errc::unsupported, {"crypt_method"}},
      {"l1_size 0", 36, 4, 0, Errc::corrupt, {"l1_size", "0"}},
      {"l1_size max", 36, 4, all, Errc::limit_exceeded, {"l1_size"}},
      {"l1 offset 0", 40, 8, 0, Errc::corrupt, {"l1_table_offset"}},
      {"l1 offset unaligned", 40, 8, 4097, Errc::corrupt, {"l1_table_offset", "4097"}},
      {"l1 beyond the file", 40, 8, 1 << 30, Errc::corrupt, {"L1 table"}},
      {"l1 offset max", 40, 8, all << 12, Errc::corrupt, {"l1_table_offset"}},
      {"refcount table 0", 48, 8, 0, Errc::corrupt, {"refcount_table_offset"}},
      {"refcount table unaligned", 48, 8, 512, Errc::corrupt, {"refcount_table_offset", "512"}},
      {"refcount table max", 48, 8, all << 12, Errc::corrupt, {"refcount_table_offset"}},
      {"refcount table clusters 0", 56, 4, 0, Errc::corrupt, {"refcount_table_clusters"}},
      {"refcount table clusters max",
       56,
       4,
       all,
       Errc::limit_exceeded,
       {"refcount_table_clusters"}},
      {"nb_snapshots max", 60, 4, all, Errc::limit_exceeded, {"nb_snapshots"}},
      {"snapshots unaligned", 60, 8, (std::uint64_t{1} << 32), Errc::corrupt, {"snapshots_offset"}},
      {"unknown feature", 72, 8, std::uint64_t{1} << 63, Errc::unsupported, {"63"}},
      {"unknown feature", 72, 8, 1 << 5, Errc::unsupported, {"5"}},
      {"refcount_order", 96, 4, 7, Errc::corrupt, {"refcount_order", "7"}},
      {"header_length 72", 100, 4, 72, Errc::corrupt, {"header_length", "72"}},
      {"header_length 108", 100, 4, 108, Errc::corrupt, {"header_length", "108"}},
      {"header_length max", 100, 4, all, Errc::corrupt, {"header_length"}},
      {"compression_type", 104, 1, 1, Errc::corrupt, {"compression_type", "1"}},
  };
  for (const BadField& field : fields) {
    SCOPED_TRACE(field.name);
    SmallImage small;
    std::array<std::byte, 8> bytes;
    store_big_endian<std::uint64_t>(bytes.data(), field.value);
    small.storage().write(field.host_offset,
                          std::span(bytes).last(static_cast<std::size_t>(field.bytes)));
    for (const bool read_only : {true, false}) {
      OpenOptions options;
      options.read_only = read_only;
      const Error error = error_of([&] { small.open(options); });
      EXPECT_EQ(error.code(), field.code) << error.message();
      EXPECT_TRUE(mentions(error, {"small.qcow2"}));
      EXPECT_TRUE(mentions(error, field.words));
    }
  }
}

TEST(OpenDamaged, AnImageMarkedCorruptIsReadButNotWritten) {
  SmallImage small;
  small.set_field(72, 2);
  test::read_everything(*small.open());
  const Error error = error_of([&] { small.open(writable()); });
  EXPECT_EQ(error.code(), Errc::corrupt);
  EXPECT_TRUE(mentions(error, {"small.qcow2", "corrupt", "check"}));
}

TEST(OpenDamaged, ADataFileWithoutANameIsAnError) {
  SmallImage small;
  small.set_field(72, 4);
  EXPECT_TRUE(mentions(error_of([&] { small.open(); }), {"small.qcow2", "data-file"}));
  OpenOptions options;
  options.open_data_file = false;
  const auto image = small.open(options);
  std::vector<std::byte> byte(1);
  EXPECT_TRUE(mentions(error_of([&] { image->read(0, byte); }), {"external data file"}));
}

TEST(OpenDamaged, AnEncryptedImageIsNeitherReadNorWrittenAsIfItWereNot) {
  SmallImage small;
  small.set_field32(32, 1);
  std::vector<std::byte> bytes(512);
  const auto image = small.open(writable());
  EXPECT_TRUE(image->info().encrypted);
  EXPECT_EQ(error_of([&] { image->read(0, bytes); }).code(), Errc::invalid_argument);
  EXPECT_EQ(error_of([&] { image->write(0, bytes); }).code(), Errc::invalid_argument);
  EXPECT_EQ(error_of([&] { image->map(0, 512); }).code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace qcowkit
