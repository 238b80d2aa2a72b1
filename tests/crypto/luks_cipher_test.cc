// Ciphers by the names that options and headers have for them.
#include "crypto/luks_cipher.h"

#include <gtest/gtest.h>

#include "tests/crypto/luks_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::crypto {
namespace {

using test::error_of;
using test::luks_options;
using test::mentions;

TEST(LuksCipher, OptionsThatDoNotFitAreRefusedByName) {
  const auto refused = [](LuksOptions options) {
    return error_of([&] { const LuksCipher cipher(options); });
  };
  EXPECT_TRUE(mentions(refused(luks_options("3des")), {"'3des'"}));
  EXPECT_TRUE(mentions(refused(luks_options("", "ofb")), {"'ofb'"}));
  EXPECT_TRUE(mentions(refused(luks_options("", "", "random")), {"'random'"}));
  EXPECT_TRUE(mentions(refused(luks_options("", "", "none")), {"'none'"}));
  EXPECT_TRUE(mentions(refused(luks_options("", "", "essiv", "sm3")), {"'sm3'"}));
  EXPECT_TRUE(mentions(refused(luks_options("cast5-128")), {"mode xts"}));
  EXPECT_TRUE(mentions(refused(luks_options("cast5-128", "cbc", "essiv")), {"cast5-128", "essiv"}));
  EXPECT_TRUE(mentions(refused(luks_options("aes-128", "cbc", "essiv", "sha1")), {"AES", "20"}));
}

TEST(LuksCipher, AHashThatIsNotUsedIsStoredButNotTold) {
  const LuksCipher cipher(luks_options("", "", "plain64", "sha1"));
  EXPECT_EQ(cipher.mode_field(), "xts-plain64:sha1");
  EXPECT_EQ(cipher.iv_hash_name(), "");
  EXPECT_EQ(LuksCipher(luks_options("", "", "essiv")).iv_hash_name(), "sha256");
}

TEST(LuksCipher, DefaultsAreThoseOfTheReference) {
  EXPECT_EQ(LuksCipher(LuksOptions{}).algorithm().name, "aes-256");
  EXPECT_EQ(LuksCipher(LuksOptions{}).mode_field(), "xts-plain64");
  EXPECT_EQ(LuksCipher(luks_options("", "cbc", "essiv")).mode_field(), "cbc-essiv:sha256");
}

}  // namespace
}  // namespace qcowkit::crypto
