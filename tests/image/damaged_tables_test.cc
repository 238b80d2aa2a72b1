// Images whose tables are damaged or hostile: reading and writing them may fail, but nothing else
// may come to harm.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "tests/image/small_image.h"
#include "tests/support/content.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using test::SmallImage;

constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;
constexpr std::uint64_t kCluster = SmallImage::kClusterSize;

/// The last byte of incompatible_features: a damaged image may be marked corrupt.
constexpr std::size_t kCorruptBitAt = 79;

class DamagedTables : public testing::Test {
 protected:
  /// Guest data at `guest_offset` cannot be written, nor read where `reading`; the error has
  /// `words`.
  void expect_corrupt(std::uint64_t guest_offset, bool reading,
                      const std::vector<std::string>& words) {
    if (reading) {
      const auto image = small_.open();
      std::vector<std::byte> bytes(100);
      expect_error([&] { image->read(guest_offset, bytes); }, words);
      expect_error([&] { image->map(guest_offset, 100); }, words);
    }
    const auto image = small_.open_for_writing();
    expect_error([&] { image->write(guest_offset, test::make_content(1, 100)); }, words);
  }

  template <typename Work>
  static void expect_error(Work work, const std::vector<std::string>& words) {
    try {
      work();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::corrupt) << error.message();
      EXPECT_NE(error.message().find("small.qcow2"), std::string::npos) << error.message();
      for (const std::string& word : words) {
        EXPECT_NE(error.message().find(word), std::string::npos)
            << "\"" << error.message() << "\" lacks \"" << word << "\"";
      }
    }
  }

  /// Writes of all kinds, as far as they are let; the host range stays as it is.
  void expect_untouched_by_writes(std::uint64_t host_offset, std::uint64_t bytes) {
    std::vector<std::byte> before(bytes);
    small_.storage().read(host_offset, before);
    const auto image = small_.open_for_writing();
    const auto allowed = [](auto work) {
      try {
        work();
      } catch (const Error&) {
      }
    };
    const auto data = test::make_content(1, kCluster);
    const auto kinds = std::to_array<void (*)(Image&, std::uint64_t, std::span<const std::byte>)>(
        {[](Image& i, std::uint64_t at, std::span<const std::byte> d) { i.write(at, d); },
         [](Image& i, std::uint64_t at, std::span<const std::byte> d) {
           i.write(at, d.first(100));
         },
         [](Image& i, std::uint64_t at, std::span<const std::byte> d) {
           i.write_zeroes(at, d.size(), false);
         },
         [](Image& i, std::uint64_t at, std::span<const std::byte>) {
           i.write_zeroes(at + 50, 500, false);
         },
         [](Image& i, std::uint64_t at, std::span<const std::byte> d) {
           i.write_compressed(at, i.compress(d), d);
         },
         [](Image& i, std::uint64_t at, std::span<const std::byte> d) {
           i.write_in_place(at, d.size(),
                            [&](Storage& s, std::uint64_t host, auto...) { s.write(host, d); });
         },
         [](Image& i, std::uint64_t at, std::span<const std::byte> d) {
           i.discard(at, d.size());
         }});
    for (const std::uint64_t at : {std::uint64_t{0}, kCluster, SmallImage::kTableCovers,
                                   SmallImage::kTableCovers + kCluster}) {
      for (const auto& kind : kinds) allowed([&] { kind(*image, at, data); });
    }
    allowed([&] { image->flush(); });
    std::vector<std::byte> after(bytes);
    small_.storage().read(host_offset, after);
    if (host_offset == 0 && bytes > kCorruptBitAt)
      after.at(kCorruptBitAt) = before.at(kCorruptBitAt);
    EXPECT_TRUE(after == before);
  }

  SmallImage small_;
};

TEST_F(DamagedTables, AnUnalignedL1EntryIsNamed) {
  small_.set_field(small_.l1_table(), (small_.l2_table() + 512) | kCopied);
  expect_corrupt(0, true, {"L1 table", "entry 0", "cluster size 4096"});
}

TEST_F(DamagedTables, AnUnalignedL2EntryIsNamed) {
  const std::uint64_t entry = small_.l2_entry(1);
  small_.set_field(entry, small_.field(entry) + 512);
  expect_corrupt(kCluster, true, {"L2 table", "guest offset 0x1000", "cluster size"});
  std::vector<std::byte> bytes(kCluster);
  small_.open()->read(0, bytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), small_.content().begin()))
      << "its neighbours can be read";
}

TEST_F(DamagedTables, AZeroFlagInVersion2IsNamed) {
  CreateOptions options;
  options.version = 2;
  options.cluster_size_bytes = kCluster;
  small_ = SmallImage(options);
  small_.set_field(small_.l2_entry(1), small_.field(small_.l2_entry(1)) | 1);
  expect_corrupt(kCluster, true, {"L2 table", "zero flag"});
}

TEST_F(DamagedTables, ACompressedStreamThatIsNoStreamIsNamed) {
  const std::uint64_t entry = small_.field(small_.l2_entry(SmallImage::kCompressedCluster));
  const std::uint64_t stream = entry & ((std::uint64_t{1} << 58) - 1);
  small_.storage().write(stream, test::make_content(3, 64));
  const auto image = small_.open();
  std::vector<std::byte> bytes(kCluster);
  expect_error([&] { image->read(SmallImage::kCompressedCluster * kCluster, bytes); },
               {"compressed cluster", "0x"});
}

TEST_F(DamagedTables, ACompressedStreamBeyondTheFileIsNamed) {
  small_.set_field(small_.l2_entry(0), std::uint64_t{1} << 62 | std::uint64_t{1} << 50);
  const auto image = small_.open();
  std::vector<std::byte> bytes(kCluster);
  expect_error([&] { image->read(0, bytes); }, {"compressed cluster", "0x"});
}

TEST_F(DamagedTables, AnUnalignedRefcountBlockIsNamed) {
  small_.set_field(small_.refcount_table(), small_.refcount_block() + 512);
  const auto image = small_.open_for_writing();
  expect_error([&] { image->write(20 * kCluster, test::make_content(1, 100)); },
               {"refcount table", "entry 0", "cluster size 4096"});
}

TEST_F(DamagedTables, ALoopOfTablesEndsNowhere) {
  // The L2 table is the L1 table, is the L2 table ...
  small_.set_field(small_.l1_table() + 8, small_.l1_table() | kCopied);
  test::read_everything(*small_.open());
}

/// What a structure must be safe from.
struct Structure {
  const char* name;
  std::uint64_t (*host_offset)(const SmallImage& image);
};
const std::vector<Structure> kStructures = {
    {"Header", [](const SmallImage&) { return std::uint64_t{0}; }},
    {"L1Table", [](const SmallImage& image) { return image.l1_table(); }},
    {"RefcountTable", [](const SmallImage& image) { return image.refcount_table(); }},
};
std::ostream& operator<<(std::ostream& out, const Structure& s) { return out << s.name; }

class OverlapWith : public DamagedTables, public testing::WithParamInterface<Structure> {
 protected:
  std::uint64_t place() const { return GetParam().host_offset(small_); }
};

TEST_P(OverlapWith, GuestDataIsNotWrittenOverIt) {
  small_.set_field(small_.l2_entry(1), place() | kCopied);
  expect_untouched_by_writes(place(), kCluster);
}

TEST_P(OverlapWith, SharedClustersAreNotFreedUnderIt) {
  small_.set_field(small_.l2_entry(0), place());
  small_.set_field(small_.l2_entry(1), place() | kCopied);
  expect_untouched_by_writes(place(), kCluster);
}

TEST_P(OverlapWith, CompressedClustersAreNotFreedUnderIt) {
  small_.set_field(small_.l2_entry(1), (std::uint64_t{1} << 62) + place() + 100);
  expect_untouched_by_writes(place(), kCluster);
}

TEST_P(OverlapWith, ZeroClustersAreNotReusedOverIt) {
  small_.set_field(small_.l2_entry(0), place() | kCopied | 1);
  expect_untouched_by_writes(place(), kCluster);
}

TEST_P(OverlapWith, L2EntriesAreNotWrittenOverIt) {
  small_.set_field(small_.l1_table() + 8, place() | kCopied);
  expect_untouched_by_writes(place(), kCluster);
}

TEST_P(OverlapWith, ASharedL2TableIsNotFreedUnderIt) {
  small_.set_field(small_.l1_table() + 8, place());
  expect_untouched_by_writes(place(), 8);
}

TEST_P(OverlapWith, ItIsNotAllocatedWhereItsRefcountIsZero) {
  const std::uint64_t entry = small_.refcount_block() + place() / kCluster * 2;
  const std::array<std::byte, 2> zero{};
  small_.storage().write(entry, zero);
  expect_untouched_by_writes(place(), kCluster);
}

INSTANTIATE_TEST_SUITE_P(Structures, OverlapWith, testing::ValuesIn(kStructures),
                         [](const auto& s) { return std::string(s.param.name); });

TEST_F(DamagedTables, RefcountsAreNotWrittenOverTheHeaderOrTheTables) {
  for (const std::uint64_t place : {std::uint64_t{0}, small_.l1_table(), small_.refcount_table()}) {
    SCOPED_TRACE(place);
    small_ = SmallImage();
    small_.set_field(small_.refcount_table(), place);
    std::vector<std::byte> before(kCluster);
    small_.storage().read(0, before);
    expect_untouched_by_writes(small_.l1_table(), kCluster);
    std::vector<std::byte> after(kCluster);
    small_.storage().read(0, after);
    after.at(kCorruptBitAt) = before.at(kCorruptBitAt);
    EXPECT_TRUE(after == before);
  }
}

// --- At random ---------------------------------------------------------------------------------

std::uint64_t draw_value(std::mt19937_64& random, const SmallImage& image) {
  const std::uint64_t places[] = {0,
                                  1,
                                  ~std::uint64_t{0},
                                  kCopied,
                                  std::uint64_t{1} << 62,
                                  std::uint64_t{3} << 62,
                                  image.l1_table(),
                                  image.l2_table(),
                                  image.refcount_table(),
                                  image.refcount_block(),
                                  0x00fffffffffff000,
                                  image.l2_table() + 512,
                                  std::uint64_t{1} << 40,
                                  random(),
                                  random() & 0x00fffffffffffe00,
                                  random() % 64 * kCluster};
  const std::uint64_t value = places[random() % std::size(places)];
  return random() % 2 == 0 ? value : value | kCopied;
}

void mutate(SmallImage& image, std::mt19937_64& random) {
  const std::uint64_t tables[] = {0,
                                  image.l1_table(),
                                  image.l2_table(),
                                  image.l2_table(1),
                                  image.refcount_table(),
                                  image.refcount_block()};
  const std::uint64_t changes = 1 + random() % 6;
  for (std::uint64_t i = 0; i < changes; ++i) {
    const std::uint64_t table = tables[random() % std::size(tables)];
    const std::uint64_t span = table == 0 ? 112 : 96;
    switch (random() % 3) {
      case 0:
        image.set_field(table + random() % span / 8 * 8, draw_value(random, image));
        break;
      case 1: {
        const std::byte value{static_cast<unsigned char>(random())};
        image.storage().write(table + random() % span, std::span(&value, 1));
        break;
      }
      default:
        image.set_field32(table + random() % span / 4 * 4,
                          static_cast<std::uint32_t>(random() % 40));
        break;
    }
  }
}

/// Everything that a guest and a tool can ask for; only `Error` may come of it.
void use_everything(const SmallImage& image, bool read_only, std::uint64_t seed) {
  OpenOptions options;
  options.read_only = read_only;
  options.references = References::none();
  std::unique_ptr<Image> opened;
  try {
    opened = image.open(options);
  } catch (const Error&) {
    return;
  }
  const auto attempt = [](auto work) {
    try {
      work();
    } catch (const Error&) {
    }
  };
  test::read_everything(*opened);
  attempt([&] { opened->info(); });
  attempt([&] { opened->check(); });
  if (!read_only && opened->virtual_size() != 0) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t at = random() % std::min<std::uint64_t>(opened->virtual_size(), 1 << 20);
      const std::uint64_t length =
          std::min<std::uint64_t>(1 + random() % 20000, opened->virtual_size() - at);
      attempt([&] { opened->write(at, test::make_content(random() % 100, length)); });
      attempt([&] { opened->write_zeroes(at, length, random() % 2 == 0); });
      attempt([&] { opened->discard(at, length); });
    }
    attempt([&] { opened->flush(); });
    test::read_everything(*opened);
  }
  attempt([&] { opened->close(); });
}

TEST(MutatedImages, NothingButErrorsComesOfThem) {
  CreateOptions extended;
  extended.cluster_size_bytes = 16384;
  extended.extended_l2 = true;
  extended.compression = CompressionType::zstd;
  const auto run = [&](std::uint64_t seed) {
    SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    SmallImage image = seed % 3 == 0 ? SmallImage(extended) : SmallImage();
    mutate(image, random);
    ASSERT_NO_THROW(use_everything(image, true, seed));
    ASSERT_NO_THROW(use_everything(image, false, seed));
  };
  test::for_each_seed(250, run, [] { return HasFatalFailure(); });
}

}  // namespace
}  // namespace qcowkit
