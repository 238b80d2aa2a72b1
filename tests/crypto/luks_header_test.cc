// LUKS headers: what is written is read back, and what makes no sense is refused by name.
#include "crypto/luks_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "crypto/key_derivation.h"
#include "tests/crypto/luks_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit::crypto {
namespace {

using test::error_of;
using test::luks_options;
using test::mentions;

constexpr std::uint64_t kAreaBytes = 16 << 20;

LuksHeader make_header(const LuksOptions& options = {}) {
  LuksHeader header{LuksCipher(options), *find_hash("sha256")};
  header.master_key_iterations = 1234;
  header.uuid = "01234567-89ab-4def-8123-456789abcdef";
  header.key_slots[2].is_active = true;
  header.key_slots[2].iterations = 5678;
  header.key_slots[2].salt.fill(std::byte{0x5a});
  return header;
}

LuksHeader decode(const RawLuksHeader& raw, std::uint64_t area_bytes = kAreaBytes) {
  return LuksHeader::decode(std::as_bytes(std::span(&raw, 1)), area_bytes);
}

template <std::size_t kSize>
void set(char (&field)[kSize], std::string_view text) {
  std::memset(field, 0, kSize);
  std::memcpy(field, text.data(), text.size());
}

TEST(LuksHeader, DecodesWhatItEncoded) {
  const LuksHeader header = make_header(luks_options("serpent-192", "cbc", "plain"));
  const LuksHeader again = decode(header.encode());
  const LuksInfo info = again.info();
  EXPECT_EQ(info.cipher_alg, "serpent-192");
  EXPECT_EQ(info.cipher_mode, "cbc");
  EXPECT_EQ(info.ivgen_alg, "plain");
  EXPECT_EQ(info.ivgen_hash_alg, "");
  EXPECT_EQ(info.hash_alg, "sha256");
  EXPECT_EQ(info.uuid, header.uuid);
  EXPECT_EQ(info.master_key_iterations, 1234u);
  EXPECT_EQ(info.payload_offset_bytes, header.payload_offset_bytes());
  ASSERT_EQ(info.slots.size(), 8u);
  EXPECT_TRUE(info.slots[2].active);
  EXPECT_EQ(info.slots[2].iterations, 5678u);
  EXPECT_FALSE(info.slots[3].active);
  EXPECT_EQ(again.key_slots[2].salt, header.key_slots[2].salt);
  const RawLuksHeader first = header.encode();
  const RawLuksHeader second = again.encode();
  EXPECT_EQ(std::memcmp(&first, &second, sizeof first), 0);
}

// As the reference lays out its volumes.
TEST(LuksHeader, KeyMaterialStartsOnPages) {
  const LuksHeader header = make_header();
  EXPECT_EQ(header.key_slots[0].key_material_offset_bytes(), 4096u);
  EXPECT_EQ(header.key_slots[1].key_material_offset_bytes(), 262144u);
  EXPECT_EQ(header.payload_offset_bytes(), 2068480u);
}

TEST(LuksHeader, TheShortestAreaEndsAtThePayload) {
  const LuksHeader header = make_header();
  decode(header.encode(), header.payload_offset_bytes());
  EXPECT_TRUE(
      mentions(error_of([&] { decode(header.encode(), header.payload_offset_bytes() - 1); }),
               {"LUKS header", "payload-offset", "2068480", "2068479"}));
}

TEST(LuksHeader, OnlyVersion1IsProbed) {
  RawLuksHeader raw = make_header().encode();
  const auto bytes = std::as_bytes(std::span(&raw, 1));
  EXPECT_TRUE(LuksHeader::probe(bytes));
  EXPECT_TRUE(LuksHeader::probe(bytes.first(8)));
  EXPECT_FALSE(LuksHeader::probe(bytes.first(7)));
  raw.version = 2;
  EXPECT_FALSE(LuksHeader::probe(bytes));
  raw.version = 1;
  raw.magic[0] = 'l';
  EXPECT_FALSE(LuksHeader::probe(bytes));
}

TEST(LuksHeader, FewerBytesThanAHeaderAreRefused) {
  const RawLuksHeader raw = make_header().encode();
  const auto bytes = std::as_bytes(std::span(&raw, 1));
  for (const std::size_t size : {0, 5, 6, 8, 591}) {
    const Error error = error_of([&] { LuksHeader::decode(bytes.first(size), size); });
    EXPECT_EQ(error.code(), size < 6   ? Errc::not_an_image
                            : size < 8 ? Errc::unsupported
                                       : Errc::corrupt)
        << size << ": " << error.message();
  }
}

struct Damage {
  std::string name;
  std::function<void(RawLuksHeader&)> apply;
  Errc code;
  std::vector<std::string> words;
};

void PrintTo(const Damage& damage, std::ostream* to) { *to << damage.name; }

const std::vector<Damage>& damages() {
  static const std::vector<Damage> kDamages = {
      {"Magic", [](RawLuksHeader& raw) { raw.magic[5] = 'x'; }, Errc::not_an_image, {"magic"}},
      {"Version0", [](RawLuksHeader& raw) { raw.version = 0; }, Errc::unsupported, {"version 0"}},
      {"Version2", [](RawLuksHeader& raw) { raw.version = 2; }, Errc::unsupported, {"version 2"}},
      {"CipherUnknown",
       [](RawLuksHeader& raw) { set(raw.cipher_name, "rot13"); },
       Errc::unsupported,
       {"'rot13'"}},
      {"CipherEndless",
       [](RawLuksHeader& raw) { std::memset(raw.cipher_name, 'a', sizeof raw.cipher_name); },
       Errc::corrupt,
       {"cipher-name"}},
      {"CipherUnprintable",
       [](RawLuksHeader& raw) { raw.cipher_name[1] = '\x1b'; },
       Errc::corrupt,
       {"cipher-name", "0x1b"}},
      {"ModeUnknown",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "gcm-plain64"); },
       Errc::unsupported,
       {"cipher mode 'gcm'"}},
      {"ModeEmpty",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, ""); },
       Errc::unsupported,
       {"cipher mode ''"}},
      {"ModeEndless",
       [](RawLuksHeader& raw) { std::memset(raw.cipher_mode, 'x', sizeof raw.cipher_mode); },
       Errc::corrupt,
       {"cipher-mode"}},
      {"IvGeneratorMissing",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts"); },
       Errc::unsupported,
       {"IV generator ''"}},
      {"IvGeneratorUnknown",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts-benbi"); },
       Errc::unsupported,
       {"IV generator 'benbi'"}},
      {"IvGeneratorNoneButForEcb",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts-none"); },
       Errc::unsupported,
       {"IV generator 'none'"}},
      {"EssivWithoutHash",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts-essiv"); },
       Errc::corrupt,
       {"cipher-mode", "essiv", "hash"}},
      {"EssivHashUnknown",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts-essiv:crc32"); },
       Errc::unsupported,
       {"hash 'crc32'"}},
      {"EssivHashOfOddLength",
       [](RawLuksHeader& raw) { set(raw.cipher_mode, "xts-essiv:sha1"); },
       Errc::unsupported,
       {"AES", "key size 20"}},
      {"HashUnknown",
       [](RawLuksHeader& raw) { set(raw.hash_spec, "whirlpool"); },
       Errc::unsupported,
       {"hash 'whirlpool'"}},
      {"HashEndless",
       [](RawLuksHeader& raw) { std::memset(raw.hash_spec, 's', sizeof raw.hash_spec); },
       Errc::corrupt,
       {"hash-spec"}},
      {"PayloadAtTheStart",
       [](RawLuksHeader& raw) { raw.payload_offset = 0; },
       Errc::corrupt,
       {"key slot 0", "payload at 0"}},
      {"PayloadInKeyMaterial",
       [](RawLuksHeader& raw) { raw.payload_offset = raw.payload_offset - 8; },
       Errc::corrupt,
       {"key slot 7", "payload at 2064384"}},
      {"PayloadBehindTheEnd",
       [](RawLuksHeader& raw) { raw.payload_offset = 0xffffffff; },
       Errc::corrupt,
       {"payload-offset", "2199023255040"}},
      {"KeyLength0",
       [](RawLuksHeader& raw) { raw.key_bytes = 0; },
       Errc::unsupported,
       {"key of 0 bytes"}},
      {"KeyLengthOdd",
       [](RawLuksHeader& raw) { raw.key_bytes = 65; },
       Errc::unsupported,
       {"key of 65 bytes"}},
      {"KeyLengthHuge",
       [](RawLuksHeader& raw) { raw.key_bytes = 0xfffffffe; },
       Errc::unsupported,
       {"key of 4294967294 bytes"}},
      {"DigestIterations0",
       [](RawLuksHeader& raw) { raw.mk_digest_iter = 0; },
       Errc::corrupt,
       {"mk-digest-iter", "0 iterations"}},
      {"DigestIterationsHostile",
       [](RawLuksHeader& raw) { raw.mk_digest_iter = kDigestsMax + 1; },
       Errc::limit_exceeded,
       {"mk-digest-iter", "268435457 iterations", "268435456"}},
      {"UuidEndless",
       [](RawLuksHeader& raw) { std::memset(raw.uuid, '0', sizeof raw.uuid); },
       Errc::corrupt,
       {"uuid"}},
      {"UuidUnprintable", [](RawLuksHeader& raw) { raw.uuid[0] = '\n'; }, Errc::corrupt, {"uuid"}},
      {"SlotState",
       [](RawLuksHeader& raw) { raw.key_slots[3].active = 1; },
       Errc::corrupt,
       {"key slot 3", "state 0x00000001"}},
      {"SlotIterations0",
       [](RawLuksHeader& raw) { raw.key_slots[2].iterations = 0; },
       Errc::corrupt,
       {"key slot 2", "0 iterations"}},
      {"SlotIterationsHostile",
       [](RawLuksHeader& raw) { raw.key_slots[2].iterations = 0xffffffff; },
       Errc::limit_exceeded,
       {"key slot 2", "4294967295"}},
      // Its key takes two digests for each iteration.
      {"SlotIterationsJustTooMany",
       [](RawLuksHeader& raw) { raw.key_slots[2].iterations = kDigestsMax / 2 + 1; },
       Errc::limit_exceeded,
       {"key slot 2", "134217729 iterations", "134217728"}},
      {"SlotStripes0",
       [](RawLuksHeader& raw) { raw.key_slots[2].stripes = 0; },
       Errc::corrupt,
       {"key slot 2", "0 stripes", "4000"}},
      {"SlotStripesHostile",
       [](RawLuksHeader& raw) { raw.key_slots[7].stripes = 0xffffffff; },
       Errc::corrupt,
       {"key slot 7", "4294967295 stripes"}},
      {"SlotInTheHeader",
       [](RawLuksHeader& raw) { raw.key_slots[0].key_material_offset = 1; },
       Errc::corrupt,
       {"key slot 0", "512"}},
      {"SlotInThePayload",
       [](RawLuksHeader& raw) {
         raw.key_slots[7].key_material_offset = raw.key_slots[7].key_material_offset + 5;
       },
       Errc::corrupt,
       {"key slot 7", "payload"}},
      {"SlotBehindEverything",
       [](RawLuksHeader& raw) { raw.key_slots[1].key_material_offset = 0xffffffff; },
       Errc::corrupt,
       {"key slot 1"}},
      {"SlotsOverlap",
       [](RawLuksHeader& raw) {
         raw.key_slots[4].key_material_offset = raw.key_slots[5].key_material_offset - 1;
       },
       Errc::corrupt,
       {"key slots 4 and 5"}},
      {"SlotsAlike",
       [](RawLuksHeader& raw) {
         raw.key_slots[6].key_material_offset = std::uint32_t{raw.key_slots[0].key_material_offset};
       },
       Errc::corrupt,
       {"key slots 0 and 6"}},
  };
  return kDamages;
}

class LuksHeaderDamage : public testing::TestWithParam<Damage> {};

TEST_P(LuksHeaderDamage, IsRefusedByName) {
  RawLuksHeader raw = make_header().encode();
  decode(raw);
  GetParam().apply(raw);
  const Error error = error_of([&] { decode(raw); });
  EXPECT_EQ(error.code(), GetParam().code) << error.message();
  EXPECT_TRUE(mentions(error, {"LUKS header"}));
  EXPECT_TRUE(mentions(error, GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(Fields, LuksHeaderDamage, testing::ValuesIn(damages()),
                         [](const auto& damage) { return damage.param.name; });

// What is at its limit is still good.
TEST(LuksHeader, ValuesAtTheirLimitsAreTaken) {
  RawLuksHeader raw = make_header().encode();
  raw.mk_digest_iter = kDigestsMax;
  raw.key_slots[2].iterations = kDigestsMax / 2;
  raw.key_slots[0].key_material_offset = 2;
  raw.key_slots[7].key_material_offset = raw.key_slots[7].key_material_offset + 4;
  raw.key_slots[5].iterations = 0;  // of an inactive slot
  decode(raw);
}

TEST(LuksHeader, RandomDamageIsRefusedOrLeavesAHeaderThatMakesSense) {
  const auto run = [](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    RawLuksHeader raw = make_header().encode();
    const auto bytes = std::as_writable_bytes(std::span(&raw, 1));
    for (std::uint64_t i = random() % 4 + 1; i > 0; --i) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    try {
      const LuksHeader header = decode(raw);
      EXPECT_LE(header.payload_offset_bytes(), kAreaBytes);
      for (const LuksKeySlot& slot : header.key_slots) {
        EXPECT_LE(slot.key_material_offset_bytes() + header.key_material_bytes(),
                  header.payload_offset_bytes());
        EXPECT_LE(slot.is_active ? slot.iterations : 0, kDigestsMax);
      }
    } catch (const Error& error) {
      EXPECT_TRUE(mentions(error, {"LUKS header"}));
    }
    if (testing::Test::HasFailure()) ADD_FAILURE() << "seed " << seed;
  };
  test::for_each_seed(20000, run, [] { return testing::Test::HasFailure(); });
}

TEST(LuksHeader, EcbNeedsNoIvGenerator) {
  RawLuksHeader raw = make_header().encode();
  for (const std::string_view mode : {"ecb", "ecb-none", "ecb-plain64"}) {
    set(raw.cipher_mode, mode);
    raw.key_bytes = 32;
    EXPECT_EQ(decode(raw).info().cipher_mode, "ecb") << mode;
  }
}

}  // namespace
}  // namespace qcowkit::crypto
