// LUKS volumes: making them, opening them, and changing their passphrases.
#include "crypto/luks.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "crypto/luks_header.h"
#include "tests/crypto/luks_fixture.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"

namespace qcowkit::crypto {
namespace {

using test::adding;
using test::erasing;
using test::erasing_slot;
using test::error_of;
using test::forced;
using test::luks_options;
using test::make_luks_storage;
using test::mentions;
using test::open_luks;
using test::opens;
using test::secret;

std::vector<std::byte> key_material(Storage& storage, const LuksVolume& volume, std::size_t slot) {
  std::vector<std::byte> bytes(4000 * 16);
  storage.read(volume.info().slots.at(slot).key_offset_bytes, bytes);
  return bytes;
}

/// What the cipher makes of zeroes: the same for the same master key.
std::vector<std::byte> fingerprint(const LuksVolume& volume, std::string_view passphrase) {
  std::vector<std::byte> sector(kSectorBytes);
  volume.unlock(secret(passphrase))->encrypt(0, sector);
  return sector;
}

std::string active_slots(const LuksVolume& volume) {
  std::string slots;
  for (const LuksInfo::Slot& slot : volume.info().slots) slots += slot.active ? '1' : '0';
  return slots;
}

TEST(LuksVolume, EveryCipherModeGeneratorAndHashOpensAgain) {
  for (const char* cipher :
       {"aes-128", "aes-192", "aes-256", "cast5-128", "serpent-128", "serpent-192", "serpent-256",
        "twofish-128", "twofish-192", "twofish-256"}) {
    for (const char* mode : {"ecb", "cbc", "ctr", "xts"}) {
      if (std::string(cipher) == "cast5-128" && std::string(mode) == "xts") continue;
      SCOPED_TRACE(std::string(cipher) + " " + mode);
      const auto storage = make_luks_storage("abc", luks_options(cipher, mode));
      const LuksVolume volume = open_luks(*storage);
      EXPECT_EQ(volume.info().cipher_alg, cipher);
      EXPECT_EQ(volume.info().cipher_mode, mode);
      EXPECT_TRUE(opens(volume, "abc"));
      EXPECT_FALSE(opens(volume, "abd"));
    }
  }
  for (const char* hash : {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160"}) {
    const auto storage = make_luks_storage("abc", luks_options("", "", "", "", hash));
    EXPECT_EQ(open_luks(*storage).info().hash_alg, hash);
    EXPECT_TRUE(opens(open_luks(*storage), "abc")) << hash;
  }
  for (const char* generator : {"plain", "plain64", "essiv"}) {
    const auto storage = make_luks_storage("abc", luks_options("", "cbc", generator));
    EXPECT_EQ(open_luks(*storage).info().ivgen_alg, generator);
    EXPECT_TRUE(opens(open_luks(*storage), "abc")) << generator;
  }
}

TEST(LuksVolume, CreatedCipherIsTheOneThatUnlockingGives) {
  const LuksOptions options = test::small_luks_options();
  MemoryStorage storage;
  const LuksArea area = {storage, HostOffset{0}, luks_header_bytes(options)};
  const auto created = create_luks(area, options, secret("abc"));
  std::vector<std::byte> bytes = test::make_content(3, 4 * kSectorBytes);
  const std::vector<std::byte> plain = bytes;
  created->encrypt(9, bytes);
  EXPECT_NE(bytes, plain);
  LuksVolume(area).unlock(secret("abc"))->decrypt(9, bytes);
  EXPECT_EQ(bytes, plain);
}

TEST(LuksVolume, AreaInTheMiddleOfAFileIsNotLeft) {
  const LuksOptions options = test::small_luks_options();
  const std::uint64_t length = luks_header_bytes(options);
  MemoryStorage storage;
  const LuksArea area = {storage, HostOffset{65536}, length};
  create_luks(area, options, secret("abc"));
  EXPECT_LE(storage.size(), 65536 + length);
  std::vector<std::byte> before(65536);
  storage.read(0, before);
  EXPECT_EQ(before, std::vector<std::byte>(65536));
  LuksVolume volume(area);
  volume.change_key_slots(secret("abc"), adding("new", 7));
  EXPECT_TRUE(opens(volume, "new"));
  EXPECT_LE(storage.size(), 65536 + length);
}

TEST(LuksVolume, TwoVolumesHaveNothingInCommon) {
  const auto first = make_luks_storage("abc");
  const auto second = make_luks_storage("abc");
  EXPECT_NE(open_luks(*first).info().uuid, open_luks(*second).info().uuid);
  EXPECT_NE(fingerprint(open_luks(*first), "abc"), fingerprint(open_luks(*second), "abc"));
}

TEST(LuksVolume, UuidIsARandomOne) {
  const std::string uuid = open_luks(*make_luks_storage("abc")).info().uuid;
  ASSERT_EQ(uuid.size(), 36u);
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
}

TEST(LuksVolume, EmptyAndBinaryPassphrasesWork) {
  for (const std::string_view passphrase :
       {std::string_view(), std::string_view("\0\xff\n", 3), std::string_view("\0\xff\n\0", 4)}) {
    const auto storage = make_luks_storage(passphrase);
    EXPECT_TRUE(opens(open_luks(*storage), passphrase));
    EXPECT_FALSE(opens(open_luks(*storage), "x"));
  }
}

TEST(LuksVolume, RoomThatIsTooSmallIsRefused) {
  const LuksOptions options = test::small_luks_options();
  MemoryStorage storage;
  const LuksArea area = {storage, HostOffset{0}, luks_header_bytes(options) - 1};
  EXPECT_EQ(error_of([&] { create_luks(area, options, secret("abc")); }).code(),
            Errc::invalid_argument);
  EXPECT_EQ(storage.size(), 0u);
}

TEST(LuksVolume, DamagedKeyMaterialOpensWithNothing) {
  const auto storage = make_luks_storage("abc");
  const std::uint64_t at = open_luks(*storage).info().slots[0].key_offset_bytes + 777;
  std::byte damaged[1];
  storage->read(at, damaged);
  damaged[0] ^= std::byte{0x10};
  storage->write(at, damaged);
  EXPECT_TRUE(
      mentions(error_of([&] { open_luks(*storage).unlock(secret("abc")); }), {"Invalid password"}));
}

TEST(LuksVolume, HostileIterationsAreRefusedBeforeTheyAreDone) {
  const auto storage = make_luks_storage("abc");
  RawLuksHeader raw;
  storage->read(0, std::as_writable_bytes(std::span(&raw, 1)));
  raw.key_slots[0].iterations = 0xfffffff0;
  storage->write(0, std::as_bytes(std::span(&raw, 1)));
  EXPECT_EQ(error_of([&] { open_luks(*storage); }).code(), Errc::limit_exceeded);
}

TEST(LuksKeySlots, AnAddedPassphraseOpensTheSameDisk) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  volume.change_key_slots(secret("abc"), adding("new"));
  EXPECT_EQ(active_slots(volume), "11000000");
  volume.change_key_slots(secret("new"), adding("third", 6));
  EXPECT_EQ(active_slots(volume), "11000010");
  const LuksVolume again = open_luks(*storage);
  EXPECT_EQ(active_slots(again), "11000010");
  EXPECT_EQ(fingerprint(again, "new"), fingerprint(again, "abc"));
  EXPECT_EQ(fingerprint(again, "third"), fingerprint(again, "abc"));
}

TEST(LuksKeySlots, AllEightCanBeUsedAndNoMore) {
  const auto storage = make_luks_storage("0");
  LuksVolume volume = open_luks(*storage);
  for (const char* passphrase : {"1", "2", "3", "4", "5", "6", "7"}) {
    volume.change_key_slots(secret("0"), adding(passphrase));
  }
  EXPECT_TRUE(mentions(error_of([&] { volume.change_key_slots(secret("0"), adding("8")); }),
                       {"all keyslots are in use"}));
  for (const char* passphrase : {"0", "3", "7"}) EXPECT_TRUE(opens(volume, passphrase));
}

TEST(LuksKeySlots, AnErasedSlotKeepsNothing) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  volume.change_key_slots(secret("abc"), adding("new"));
  const auto before = key_material(*storage, volume, 0);
  volume.change_key_slots(secret("new"), erasing("abc"));
  EXPECT_EQ(active_slots(volume), "01000000");
  EXPECT_FALSE(opens(volume, "abc"));
  EXPECT_TRUE(opens(open_luks(*storage), "new"));

  const auto after = key_material(*storage, volume, 0);
  for (std::size_t at = 0; at < before.size(); at += 512) {
    EXPECT_FALSE(std::equal(before.begin() + at, before.begin() + at + 512, after.begin() + at));
  }
  RawLuksHeader raw;
  storage->read(0, std::as_writable_bytes(std::span(&raw, 1)));
  EXPECT_EQ(raw.key_slots[0].iterations, 0u);
  for (const std::byte b : raw.key_slots[0].salt) EXPECT_EQ(b, std::byte{0});
}

TEST(LuksKeySlots, AllSlotsThatAPassphraseOpensAreErased) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  volume.change_key_slots(secret("abc"), adding("new", 5));
  volume.change_key_slots(secret("abc"), adding("abc", 3));
  volume.change_key_slots(secret("abc"), erasing("abc"));
  EXPECT_EQ(active_slots(volume), "00000100");
}

TEST(LuksKeySlots, ErasingByNumberAndPassphraseNeedsBothToMatch) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  volume.change_key_slots(secret("abc"), adding("new"));
  KeySlotChange change = erasing("new");
  change.key_slot = 0;
  EXPECT_TRUE(mentions(error_of([&] { volume.change_key_slots(secret("abc"), change); }),
                       {"keyslot 0", "doesn't contain"}));
  change.key_slot = 1;
  volume.change_key_slots(secret("abc"), change);
  EXPECT_EQ(active_slots(volume), "10000000");
}

TEST(LuksKeySlots, TheLastOneIsErasedOnlyByForce) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  for (const KeySlotChange& change : {erasing("abc"), erasing_slot(0)}) {
    EXPECT_TRUE(mentions(error_of([&] { volume.change_key_slots(secret("abc"), change); }),
                         {"erase all the data in the image irreversibly"}));
  }
  EXPECT_TRUE(opens(volume, "abc"));
  volume.change_key_slots(secret("abc"), forced(erasing_slot(0)));
  EXPECT_EQ(active_slots(volume), "00000000");
  EXPECT_FALSE(opens(open_luks(*storage), "abc"));
}

TEST(LuksKeySlots, AnActiveSlotIsReplacedOnlyByForce) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  const auto disk = fingerprint(volume, "abc");
  EXPECT_TRUE(mentions(error_of([&] { volume.change_key_slots(secret("abc"), adding("new", 0)); }),
                       {"active keyslot 0"}));
  volume.change_key_slots(secret("abc"), forced(adding("new", 0)));
  EXPECT_EQ(active_slots(volume), "10000000");
  EXPECT_FALSE(opens(volume, "abc"));
  EXPECT_EQ(fingerprint(volume, "new"), disk);
}

TEST(LuksKeySlots, AReplacedSlotOfEightLeavesTheOthersAlone) {
  const auto storage = make_luks_storage("0");
  LuksVolume volume = open_luks(*storage);
  for (const char* passphrase : {"1", "2", "3", "4", "5", "6", "7"}) {
    volume.change_key_slots(secret("0"), adding(passphrase));
  }
  volume.change_key_slots(secret("0"), forced(adding("new", 4)));
  EXPECT_EQ(active_slots(volume), "11111111");
  EXPECT_FALSE(opens(volume, "4"));
  for (const char* passphrase : {"0", "5", "new"}) EXPECT_TRUE(opens(volume, passphrase));
}

TEST(LuksKeySlots, RequestsThatMakeNoSenseAreRefusedAndChangeNothing) {
  const auto storage = make_luks_storage("abc");
  LuksVolume volume = open_luks(*storage);
  const auto before = key_material(*storage, volume, 0);
  const auto refusal = [&](const KeySlotChange& change) {
    return error_of([&] { volume.change_key_slots(secret("abc"), change); });
  };
  KeySlotChange both = adding("new");
  both.old_secret = test::shared_secret("abc");
  EXPECT_TRUE(mentions(refusal(both), {"'old-secret'"}));
  both.activate = false;
  EXPECT_TRUE(mentions(refusal(both), {"'new-secret'"}));
  EXPECT_TRUE(mentions(refusal(KeySlotChange{}), {"'new-secret' is required"}));
  KeySlotChange neither;
  neither.activate = false;
  EXPECT_TRUE(mentions(refusal(neither), {"keyslot", "password"}));
  EXPECT_TRUE(mentions(refusal(adding("new", 8)), {"Invalid keyslot 8", "7"}));
  EXPECT_TRUE(mentions(refusal(erasing_slot(8)), {"Invalid keyslot 8"}));
  EXPECT_TRUE(mentions(refusal(erasing_slot(3)), {"keyslot 3", "already erased"}));
  EXPECT_TRUE(mentions(refusal(erasing("wrong")), {"No keyslots match"}));
  EXPECT_TRUE(mentions(error_of([&] { volume.change_key_slots(secret("no"), adding("new")); }),
                       {"Invalid password"}));
  EXPECT_EQ(active_slots(open_luks(*storage)), "10000000");
  EXPECT_EQ(key_material(*storage, volume, 0), before);
}

}  // namespace
}  // namespace qcowkit::crypto
