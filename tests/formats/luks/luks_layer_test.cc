// LUKS volumes as images.
#include "formats/luks/luks_layer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "storage/memory_storage.h"
#include "tests/crypto/luks_fixture.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"
#include "tests/support/seeds.h"

namespace qcowkit::luks {
namespace {

using test::error_of;
using test::make_content;
using test::mentions;

constexpr std::uint64_t kDiskBytes = 200 * 512;

CreateOptions create_options(std::uint64_t size_bytes = kDiskBytes) {
  CreateOptions options;
  options.format = "luks";
  options.size_bytes = size_bytes;
  options.luks = test::small_luks_options();
  options.secret = test::shared_secret("abc");
  return options;
}

/// Volumes over one storage that stays.
class LuksLayerTest : public testing::Test {
 protected:
  LuksLayerTest() { create_image(*storage_, create_options()); }

  LuksLayer open(bool read_only = false, const char* passphrase = "abc") {
    return {std::make_unique<test::FaultStorage>(storage_), read_only,
            passphrase == nullptr ? nullptr : test::shared_secret(passphrase)};
  }
  static std::vector<std::byte> read(Layer& layer, std::uint64_t at, std::uint64_t length_bytes) {
    std::vector<std::byte> bytes(length_bytes);
    layer.read({at}, bytes);
    return bytes;
  }

  const std::shared_ptr<MemoryStorage> storage_ = std::make_shared<MemoryStorage>("disk.luks");
};

TEST_F(LuksLayerTest, WhatIsWrittenIsReadAgainByTheNextWhoOpens) {
  const auto bytes = make_content(3, 5000);
  {
    LuksLayer layer = open();
    layer.write({700}, bytes);
    EXPECT_EQ(read(layer, 700, bytes.size()), bytes);
  }
  LuksLayer layer = open(true);
  EXPECT_EQ(read(layer, 700, bytes.size()), bytes);
  EXPECT_EQ(read(layer, 701, 3), std::vector(bytes.begin() + 1, bytes.begin() + 4));
}

TEST_F(LuksLayerTest, SectorsAreNumberedFromThePayload) {
  LuksLayer layer = open();
  const auto bytes = make_content(3, 512);
  layer.write({1024}, bytes);
  const crypto::LuksVolume volume = test::open_luks(*storage_);
  std::vector<std::byte> stored(512);
  storage_->read(volume.payload_offset_bytes() + 1024, stored);
  volume.unlock(test::secret("abc"))->decrypt(2, stored);
  EXPECT_EQ(stored, bytes);
}

TEST_F(LuksLayerTest, RandomRequestsDoAsOnAPlainDisk) {
  const auto run = [&](std::uint64_t seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    LuksLayer layer = open();
    std::vector<std::byte> model(kDiskBytes);
    layer.write_zeroes({0}, kDiskBytes, true);
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t begin = random() % kDiskBytes;
      const std::uint64_t longest = random() % 8 == 0 ? kDiskBytes : 1500;
      const std::uint64_t length = random() % std::min(longest, kDiskBytes - begin + 1);
      switch (random() % 4) {
        case 0:
          std::fill_n(model.begin() + begin, length, std::byte{0});
          layer.write_zeroes({begin}, length, random() % 2 == 0);
          break;
        case 1:
          EXPECT_EQ(read(layer, begin, length),
                    std::vector(model.begin() + begin, model.begin() + begin + length));
          break;
        default: {
          const auto bytes = make_content(random(), length);
          std::copy(bytes.begin(), bytes.end(), model.begin() + begin);
          layer.write({begin}, bytes);
        }
      }
    }
    EXPECT_EQ(read(layer, 0, kDiskBytes), model);
  };
  test::for_each_seed(3, run, [] { return HasFailure(); });
}

TEST_F(LuksLayerTest, FilledRunsAreEncryptedToo) {
  create_image(*storage_, create_options(3 << 20));
  LuksLayer layer = open();
  const auto bytes = make_content(3, (2 << 20) + 1000);
  std::uint64_t filled = 0;
  layer.write_in_place({500}, bytes.size(),
                       [&](Storage& into, std::uint64_t host_offset, std::uint64_t guest_offset,
                           std::uint64_t length_bytes) {
                         EXPECT_EQ(guest_offset, 500 + filled);
                         into.write(host_offset,
                                    std::span(bytes).subspan(guest_offset - 500, length_bytes));
                         filled += length_bytes;
                       });
  EXPECT_EQ(filled, bytes.size());
  EXPECT_EQ(read(layer, 500, bytes.size()), bytes);
}

TEST_F(LuksLayerTest, MapSaysThatAllIsEncryptedData) {
  LuksLayer layer = open();
  const LayerExtent extent = layer.map({1000}, 2000);
  EXPECT_EQ(extent.kind, ExtentKind::data);
  EXPECT_EQ(extent.length_bytes, 2000u);
  EXPECT_TRUE(extent.is_encrypted);
  EXPECT_FALSE(layer.is_known_zero({0}, 512));
}

TEST_F(LuksLayerTest, NoPassphraseIsEnoughForMetadataOnly) {
  LuksLayer layer = open(false, nullptr);
  ImageInfo info;
  layer.describe(info);
  EXPECT_EQ(info.virtual_size_bytes, kDiskBytes);
  EXPECT_EQ(info.encryption, EncryptionFormat::luks);
  ASSERT_TRUE(info.luks);
  EXPECT_EQ(info.luks->cipher_alg, "aes-128");
  const std::vector<std::byte> bytes(512);
  for (const Error& error :
       {error_of([&] { read(layer, 0, 1); }), error_of([&] { layer.write({0}, bytes); }),
        error_of([&] { layer.write_zeroes({0}, 512, false); })}) {
    EXPECT_TRUE(mentions(error, {"Parameter 'key-secret' is required for cipher"}));
  }
}

TEST_F(LuksLayerTest, AWrongPassphraseOpensNothing) {
  EXPECT_TRUE(mentions(error_of([&] { open(false, "wrong"); }),
                       {"Invalid password, cannot unlock any keyslot"}));
}

TEST_F(LuksLayerTest, OpenReadOnlyNothingCanBeChanged) {
  LuksLayer layer = open(true);
  const std::vector<std::byte> bytes(512);
  AmendOptions amend;
  amend.key_slot = test::adding("new");
  for (const Error& error :
       {error_of([&] { layer.write({0}, bytes); }),
        error_of([&] { layer.write_zeroes({0}, 512, false); }),
        error_of([&] { layer.discard({0}, 512); }), error_of([&] { layer.resize(1 << 20, {}); }),
        error_of([&] { layer.amend(amend); })}) {
    EXPECT_EQ(error.code(), Errc::read_only) << error.message();
  }
}

TEST_F(LuksLayerTest, DiscardedSectorsKeepTheirContent) {
  LuksLayer layer = open();
  const auto bytes = make_content(3, kDiskBytes);
  layer.write({0}, bytes);
  layer.discard({0}, kDiskBytes);
  EXPECT_EQ(read(layer, 0, kDiskBytes), bytes);
}

TEST_F(LuksLayerTest, ResizeKeepsWhatIsInside) {
  LuksLayer layer = open();
  const auto bytes = make_content(3, kDiskBytes);
  layer.write({0}, bytes);
  layer.resize(kDiskBytes + 1000, {});
  EXPECT_EQ(layer.virtual_size(), kDiskBytes + 1024);
  EXPECT_EQ(read(layer, 0, kDiskBytes), bytes);
  EXPECT_EQ(error_of([&] { layer.resize(512, {}); }).code(), Errc::invalid_argument);
  layer.resize(512, {.may_shrink = true});
  EXPECT_EQ(layer.virtual_size(), 512u);
  EXPECT_EQ(open().virtual_size(), 512u);
  EXPECT_EQ(read(layer, 0, 512), std::vector(bytes.begin(), bytes.begin() + 512));
  EXPECT_EQ(error_of([&] { layer.resize(~std::uint64_t{0}, {.may_shrink = true}); }).code(),
            Errc::limit_exceeded);
}

TEST_F(LuksLayerTest, AWriteThatARacingResizeHasCutOffIsRefused) {
  LuksLayer layer = open();
  layer.resize(512, {.may_shrink = true});
  const std::vector<std::byte> bytes(512);
  EXPECT_EQ(error_of([&] { layer.write({512}, bytes); }).code(), Errc::invalid_argument);
  EXPECT_EQ(open().virtual_size(), 512u);
}

TEST_F(LuksLayerTest, AmendChangesPassphrases) {
  const auto bytes = make_content(3, kDiskBytes);
  {
    LuksLayer layer = open();
    layer.write({0}, bytes);
    AmendOptions amend;
    amend.key_slot = test::adding("new");
    layer.amend(amend);
    amend.key_slot = test::erasing("abc");
    layer.amend(amend);
    EXPECT_EQ(read(layer, 0, kDiskBytes), bytes);
  }
  EXPECT_THROW(open(), Error);
  LuksLayer layer = open(true, "new");
  EXPECT_EQ(read(layer, 0, kDiskBytes), bytes);
  ImageInfo info;
  layer.describe(info);
  EXPECT_FALSE(info.luks->slots[0].active);
  EXPECT_TRUE(info.luks->slots[1].active);
}

TEST_F(LuksLayerTest, AmendRefusesWhatItCannotDo) {
  LuksLayer layer = open();
  EXPECT_EQ(error_of([&] { layer.amend({}); }).code(), Errc::unsupported);
  AmendOptions amend;
  amend.key_slot = test::adding("new");
  amend.size_bytes = 1 << 20;
  EXPECT_EQ(error_of([&] { layer.amend(amend); }).code(), Errc::unsupported);
  amend.size_bytes.reset();
  EXPECT_TRUE(mentions(error_of([&] { open(false, nullptr).amend(amend); }), {"key-secret"}));
}

TEST_F(LuksLayerTest, WhatTheFormatLacksIsUnsupported) {
  LuksLayer layer = open();
  const std::vector<std::byte> bytes(512);
  EXPECT_EQ(error_of([&] { layer.check({}); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer.compress(bytes, 0); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer.write_compressed({0}, {}, bytes); }).code(), Errc::unsupported);
  EXPECT_EQ(error_of([&] { layer.snapshots(); }).code(), Errc::unsupported);
}

TEST_F(LuksLayerTest, AFileThatEndsWithinASectorHasThatSector) {
  const std::uint64_t payload = test::open_luks(*storage_).payload_offset_bytes();
  storage_->resize(payload + 1000, Preallocation::off);
  EXPECT_EQ(open().virtual_size(), 1024u);
  storage_->resize(payload, Preallocation::off);
  EXPECT_EQ(open().virtual_size(), 0u);
  storage_->resize(payload - 1, Preallocation::off);
  EXPECT_EQ(error_of([&] { open(); }).code(), Errc::corrupt);
}

TEST_F(LuksLayerTest, ThreadsThatShareSectorsKeepTheirBytes) {
  LuksLayer layer = open();
  constexpr std::uint64_t kPartBytes = 100;
  constexpr int kRounds = 100;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 1; round <= kRounds; ++round) {
        const std::vector<std::byte> bytes(kPartBytes, static_cast<std::byte>(round + t));
        layer.write({t * kPartBytes}, bytes);
        std::vector<std::byte> found(kPartBytes);
        layer.read({t * kPartBytes}, found);
        EXPECT_EQ(found, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(LuksCreate, WhatCannotBeMadeIsRefusedAndTheStorageLeftAlone) {
  MemoryStorage storage;
  storage.write(0, make_content(3, 1000));
  CreateOptions no_secret = create_options();
  no_secret.secret = nullptr;
  CreateOptions bad_cipher = create_options();
  bad_cipher.luks.cipher_alg = "sm4";
  CreateOptions bad_hash = create_options();
  bad_hash.luks.hash_alg = "sm3";
  CreateOptions backed = create_options();
  backed.backing_file = "base.raw";
  EXPECT_TRUE(mentions(error_of([&] { create_image(storage, no_secret); }), {"'key-secret'"}));
  EXPECT_TRUE(mentions(error_of([&] { create_image(storage, bad_cipher); }), {"'sm4'"}));
  EXPECT_TRUE(mentions(error_of([&] { create_image(storage, bad_hash); }), {"'sm3'"}));
  EXPECT_TRUE(mentions(error_of([&] { create_image(storage, backed); }), {"backing file"}));
  EXPECT_EQ(error_of([&] { create_image(storage, create_options(~std::uint64_t{0})); }).code(),
            Errc::limit_exceeded);
  EXPECT_EQ(storage.size(), 1000u);
}

TEST(LuksCreate, SizesAreWholeSectors) {
  auto storage = std::make_shared<MemoryStorage>();
  for (const std::uint64_t size : {0, 1, 512, 1000}) {
    create_image(*storage, create_options(size));
    const LuksLayer layer(std::make_unique<test::FaultStorage>(storage), true, nullptr);
    EXPECT_EQ(layer.virtual_size(), (size + 511) / 512 * 512);
  }
}

TEST(LuksCreate, AFailureOfAnyOperationIsReported) {
  for (std::uint64_t at = 1;; ++at) {
    ASSERT_LT(at, 100u);
    test::FaultStorage storage(std::make_shared<MemoryStorage>());
    storage.plan().arm({.at = at});
    try {
      create_image(storage, create_options());
      ASSERT_FALSE(storage.plan().has_fired()) << "operation " << at;
      return;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), std::errc::io_error);
    }
  }
}

}  // namespace
}  // namespace qcowkit::luks
