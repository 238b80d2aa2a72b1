// LUKS volumes between cryptsetup and us. Only headers: for the data, it takes the kernel's device
// mapper.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "tests/crypto/luks_fixture.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

std::string tool() { return test::have_command("cryptsetup") ? "cryptsetup" : "/sbin/cryptsetup"; }

test::CommandResult cryptsetup(const std::vector<std::string>& arguments,
                               const std::string& passphrase) {
  std::vector<std::string> words = {tool()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return test::run(words, passphrase);
}

class Cryptsetup : public testing::Test {
 protected:
  void SetUp() override {
    if (!cryptsetup({"--version"}, "").ok()) GTEST_SKIP() << "there is no cryptsetup";
  }

  void format(const std::string& cipher, const std::string& key_bits, const std::string& hash) {
    test::write_file(path_, std::vector<std::byte>(8 << 20));
    const test::CommandResult result = cryptsetup(
        {"luksFormat", "--batch-mode", "--type", "luks1", "--cipher", cipher, "--key-size",
         key_bits, "--hash", hash, "--pbkdf-force-iterations", "1000", "--key-file", "-", path_},
        "abc");
    ASSERT_TRUE(result.ok()) << result.err;
  }
  void create(const LuksOptions& luks) {
    CreateOptions options;
    options.format = "luks";
    options.size_bytes = 1 << 20;
    options.luks = luks;
    options.secret = test::shared_secret("abc");
    Image::create(path_, options);
  }
  bool opens_for_cryptsetup(const std::string& passphrase) {
    return cryptsetup({"open", "--test-passphrase", "--key-file", "-", path_}, passphrase).ok();
  }
  std::unique_ptr<Image> open(const std::string& passphrase, bool read_only = true) {
    OpenOptions options;
    options.read_only = read_only;
    options.secret = test::shared_secret(passphrase);
    return Image::open(path_, options);
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.luks");
};

TEST_F(Cryptsetup, VolumesThatItFormattedOpenAndWork) {
  struct Kind {
    const char* cipher;
    const char* key_bits;
    const char* hash;
    const char* cipher_alg;
  };
  for (const Kind& kind : {Kind{"aes-xts-plain64", "512", "sha256", "aes-256"},
                           Kind{"aes-xts-plain64", "256", "sha512", "aes-128"},
                           Kind{"aes-cbc-essiv:sha256", "256", "sha1", "aes-256"},
                           Kind{"aes-cbc-plain", "192", "ripemd160", "aes-192"},
                           Kind{"aes-ecb", "128", "sha384", "aes-128"}}) {
    SCOPED_TRACE(kind.cipher);
    format(kind.cipher, kind.key_bits, kind.hash);
    const auto image = open("abc", false);
    const LuksInfo info = image->info().luks.value();
    EXPECT_EQ(info.cipher_alg, kind.cipher_alg);
    EXPECT_EQ(info.hash_alg, kind.hash);
    EXPECT_EQ(image->virtual_size() + info.payload_offset_bytes, 8u << 20);
    const auto content = test::make_content(3, 5000);
    image->write(100, content);
    image->close();
    std::vector<std::byte> found(content.size());
    open("abc")->read(100, found);
    EXPECT_EQ(found, content);
  }
}

TEST_F(Cryptsetup, PassphrasesThatItAddedOrRemovedAreSo) {
  format("aes-xts-plain64", "256", "sha256");
  const std::string key_file = dir_.file("new");
  test::write_file(key_file, std::as_bytes(std::span(std::string_view("new"))));
  const test::CommandResult added =
      cryptsetup({"luksAddKey", "--batch-mode", "--pbkdf-force-iterations", "1000", "--key-file",
                  "-", path_, key_file},
                 "abc");
  ASSERT_TRUE(added.ok()) << added.err;
  open("new");
  open("abc");
  ASSERT_TRUE(cryptsetup({"luksKillSlot", "--batch-mode", path_, "0"}, "").ok());
  open("new");
  EXPECT_THROW(open("abc"), Error);
}

TEST_F(Cryptsetup, OurVolumesAreGoodToIt) {
  for (const LuksOptions& options :
       {test::luks_options(), test::luks_options("aes-128", "cbc", "essiv"),
        test::luks_options("aes-192", "cbc", "plain"),
        test::luks_options("aes-256", "ctr", "", "", "sha512"),
        test::luks_options("aes-128", "xts", "", "", "ripemd160")}) {
    SCOPED_TRACE(options.cipher_alg + options.cipher_mode);
    create(options);
    const test::CommandResult dump = cryptsetup({"luksDump", path_}, "");
    EXPECT_TRUE(dump.ok()) << dump.err;
    EXPECT_NE(dump.out.find(open("abc")->info().luks->uuid), std::string::npos) << dump.out;
    EXPECT_NE(dump.out.find("Key Slot 0: ENABLED"), std::string::npos) << dump.out;
    EXPECT_NE(dump.out.find("Key Slot 7: DISABLED"), std::string::npos) << dump.out;
    EXPECT_TRUE(opens_for_cryptsetup("abc"));
    EXPECT_FALSE(opens_for_cryptsetup("abd"));
  }
}

TEST_F(Cryptsetup, PassphrasesThatWeAddedOrErasedAreSo) {
  create(test::luks_options());
  AmendOptions amend;
  const auto image = open("abc", false);
  amend.key_slot = test::adding("new", 6);
  image->amend(amend);
  EXPECT_TRUE(opens_for_cryptsetup("new"));
  amend.key_slot = test::erasing("abc");
  image->amend(amend);
  image->close();
  EXPECT_FALSE(opens_for_cryptsetup("abc"));
  EXPECT_TRUE(opens_for_cryptsetup("new"));
}

}  // namespace
}  // namespace qcowkit
