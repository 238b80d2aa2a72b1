// New images: their bytes, their limits, and what a crash leaves of one in the making.
#include "formats/qcow1/create.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/qcow1/limits.h"
#include "formats/qcow1/qcow1_layer.h"
#include "storage/memory_storage.h"
#include "tests/support/crash_storage.h"
#include "tests/support/errors.h"

namespace qcowkit::qcow1 {
namespace {

using test::error_of;
using test::mentions;

CreateOptions options_for(std::uint64_t size_bytes) {
  CreateOptions options;
  options.format = "qcow";
  options.size_bytes = size_bytes;
  return options;
}

Header created(const CreateOptions& options) {
  MemoryStorage storage("new.qcow");
  create_image(storage, options);
  const Header header = Qcow1Layer::read_header(storage);
  EXPECT_EQ(storage.size(), header.l1_table_end().value);
  return header;
}

TEST(Qcow1Create, WithoutBackingFileClustersHave4KiB) {
  const Header header = created(options_for(10 << 20));
  EXPECT_EQ(header.cluster_bits, 12u);
  EXPECT_EQ(header.l2_bits, 9u);
  EXPECT_EQ(header.size, 10u << 20);
  EXPECT_EQ(header.l1_table_offset.value, 48u);
  EXPECT_EQ(header.crypt_method, CryptMethod::none);
}

TEST(Qcow1Create, OverABackingFileClustersHave512BytesAndTablesAreLarger) {
  CreateOptions options = options_for(7 << 20);
  options.backing_file = "base.raw";
  options.backing_format = "raw";  // is not stored
  const Header header = created(options);
  EXPECT_EQ(header.cluster_bits, 9u);
  EXPECT_EQ(header.l2_bits, 12u);
  EXPECT_EQ(header.backing_file, "base.raw");
  EXPECT_EQ(header.backing_file_offset.value, 48u);
  EXPECT_EQ(header.l1_table_offset.value, 56u);
}

TEST(Qcow1Create, SizeIsRoundedUpToWholeSectors) {
  EXPECT_EQ(created(options_for(1)).size, 512u);
  EXPECT_EQ(created(options_for(513)).size, 1024u);
}

TEST(Qcow1Create, ClusterSizeCanBeChosen) {
  CreateOptions options = options_for(1 << 20);
  for (const std::uint64_t bytes : {512, 65536}) {
    options.cluster_size_bytes = bytes;
    EXPECT_EQ(created(options).geometry().cluster_size(), bytes);
    EXPECT_EQ(created(options).geometry().l2_table_bytes(), bytes);
  }
  for (const std::uint64_t bytes : {256, 1000, 131072}) {
    options.cluster_size_bytes = bytes;
    EXPECT_EQ(error_of([&] { validate_create_options(options); }).code(), Errc::invalid_argument);
  }
}

TEST(Qcow1Create, OldContentIsGone) {
  MemoryStorage storage("old");
  storage.write(0, std::vector<std::byte>(100000, std::byte{0xee}));
  create_image(storage, options_for(1 << 20));
  std::vector<std::byte> table(storage.size() - 48);
  storage.read(48, table);
  EXPECT_EQ(table, std::vector<std::byte>(8));
}

TEST(Qcow1Create, LimitsAreNamed) {
  EXPECT_TRUE(mentions(error_of([] { validate_create_options(options_for(0)); }),
                       {"Image size is too small, cannot be zero length"}));
  const std::uint64_t largest = kL1TableBytesMax / 8 << 21;
  EXPECT_NO_THROW(validate_create_options(options_for(largest)));
  EXPECT_EQ(error_of([&] { validate_create_options(options_for(largest + 1)); }).code(),
            Errc::limit_exceeded);
  CreateOptions options = options_for(1 << 20);
  options.backing_file = std::string(1024, 'x');
  EXPECT_TRUE(mentions(error_of([&] { validate_create_options(options); }), {"1024", "1023"}));
}

TEST(Qcow1Create, ExternalDataFileIsRefused) {
  CreateOptions options = options_for(1 << 20);
  options.data_file = "data.raw";
  EXPECT_EQ(error_of([&] { validate_create_options(options); }).code(), Errc::invalid_argument);
}

TEST(Qcow1Create, EncryptionIsAesWithASecret) {
  CreateOptions options = options_for(1 << 20);
  options.encryption = EncryptionFormat::luks;
  EXPECT_TRUE(mentions(error_of([&] { validate_create_options(options); }),
                       {"Unsupported encryption format"}));
  options.encryption = EncryptionFormat::aes;
  EXPECT_TRUE(mentions(error_of([&] { validate_create_options(options); }),
                       {"Parameter 'encrypt.key-secret' is required for cipher"}));
  options.secret = std::make_shared<const Secret>(std::string_view("geheim"));
  EXPECT_EQ(created(options).crypt_method, CryptMethod::aes);
}

TEST(Qcow1Create, CrashLeavesTheWholeImageOrNone) {
  CreateOptions options = options_for(40 << 20);
  options.backing_file = std::string(1000, 'b');
  MemoryStorage old("old");
  old.write(0, std::vector<std::byte>(5000, std::byte{0xee}));
  test::CrashDisk rehearsal(old);
  create_image(*rehearsal.open(), options);
  for (std::uint64_t at = 0; at <= rehearsal.power().changes(); ++at) {
    test::CrashDisk disk(old);
    disk.power().fail_after(at);
    try {
      create_image(*disk.open(), options);
    } catch (const Error&) {
      ASSERT_FALSE(disk.power().is_on());
    }
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto left = disk.crash_image(seed);
      std::vector<std::byte> start(std::min<std::uint64_t>(left->size(), 48));
      left->read(0, start);
      if (!Header::probe(start)) continue;
      const Header header = Qcow1Layer::read_header(*left);
      EXPECT_EQ(header.backing_file, options.backing_file);
      std::vector<std::byte> table(header.l1_table_bytes());
      left->read(header.l1_table_offset.value, table);
      EXPECT_EQ(table, std::vector<std::byte>(table.size()));
    }
  }
}

}  // namespace
}  // namespace qcowkit::qcow1
