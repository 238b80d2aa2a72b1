// LUKS volumes between the reference and us, both ways.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "tests/crypto/luks_fixture.h"
#include "tests/interchange/luks_tools.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::secret_object;

constexpr std::uint64_t kDiskBytes = 300 * 1024;
constexpr const char* kPassphrase = "correct horse";

/// What a volume is made with; empty: the default.
struct Kind {
  std::string cipher_alg = {};
  std::string cipher_mode = {};
  std::string ivgen_alg = {};
  std::string ivgen_hash_alg = {};
  std::string hash_alg = {};

  LuksOptions options() const {
    return test::luks_options(cipher_alg, cipher_mode, ivgen_alg, ivgen_hash_alg, hash_alg);
  }
  /// As the reference's -o wants them.
  std::string words() const {
    std::string words = "key-secret=key,iter-time=20";
    const auto add = [&](const char* name, const std::string& value) {
      if (!value.empty()) words += fmt::format(",{}={}", name, value);
    };
    add("cipher-alg", cipher_alg);
    add("cipher-mode", cipher_mode);
    add("ivgen-alg", ivgen_alg);
    add("ivgen-hash-alg", ivgen_hash_alg);
    add("hash-alg", hash_alg);
    return words;
  }
  std::string name() const {
    std::string name = cipher_alg + cipher_mode + ivgen_alg + ivgen_hash_alg + hash_alg;
    std::erase(name, '-');
    return name.empty() ? "defaults" : name;
  }
};

void PrintTo(const Kind& kind, std::ostream* to) { *to << kind.name(); }

OpenOptions open_options(bool read_only, const char* passphrase = kPassphrase) {
  OpenOptions options;
  options.format = "luks";
  options.read_only = read_only;
  options.secret = test::shared_secret(passphrase);
  return options;
}

std::vector<std::byte> read_all(const std::string& path, const char* passphrase = kPassphrase) {
  const auto image = Image::open(path, open_options(true, passphrase));
  std::vector<std::byte> bytes(image->virtual_size());
  image->read(0, bytes);
  return bytes;
}

void create(const std::string& path, const LuksOptions& luks) {
  CreateOptions options;
  options.format = "luks";
  options.size_bytes = kDiskBytes;
  options.luks = luks;
  options.secret = test::shared_secret(kPassphrase);
  Image::create(path, options);
}

/// Has the reference write to the whole volume; returns what the disk holds then.
std::vector<std::byte> written_by_reference(const std::string& path) {
  test::qemu_io_luks(path, kPassphrase,
                     {fmt::format("write -P 1 0 {}", kDiskBytes), "write -P 2 512 512",
                      "write -P 3 100k 77k", "write -P 4 1k 512"});
  std::vector<std::byte> content(kDiskBytes, std::byte{1});
  std::fill_n(content.begin() + 512, 512, std::byte{2});
  std::fill_n(content.begin() + 100 * 1024, 77 * 1024, std::byte{3});
  std::fill_n(content.begin() + 1024, 512, std::byte{4});
  return content;
}

class LuksInterchange : public testing::TestWithParam<Kind> {
 protected:
  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.luks");
};

TEST_P(LuksInterchange, WeReadWhatTheReferenceWrote) {
  create(path_, GetParam().options());
  const auto content = written_by_reference(path_);
  EXPECT_TRUE(read_all(path_) == content);
}

TEST_P(LuksInterchange, TheReferenceReadsWhatWeWrote) {
  create(path_, GetParam().options());
  const auto content = test::make_content(3, kDiskBytes);
  const auto image = Image::open(path_, open_options(false));
  image->write(0, std::span(content).first(1000));
  image->write(1000, std::span(content).subspan(1000));
  image->close();
  EXPECT_TRUE(test::read_luks_by_reference(path_, kPassphrase) == content);
}

// Not here: 192-bit keys in other modes than xts, with which the reference cannot open volumes
// (their key material is no whole number of sectors).
INSTANTIATE_TEST_SUITE_P(
    Kinds, LuksInterchange,
    testing::Values(
        Kind{}, Kind{"aes-128"}, Kind{"aes-192"}, Kind{"serpent-128"}, Kind{"serpent-192"},
        Kind{"serpent-256"}, Kind{"twofish-128"}, Kind{"twofish-192"}, Kind{"twofish-256"},
        Kind{"", "ecb"}, Kind{"", "cbc"}, Kind{"", "ctr"}, Kind{"cast5-128", "ecb"},
        Kind{"cast5-128", "cbc"}, Kind{"cast5-128", "ctr"}, Kind{"serpent-256", "cbc"},
        Kind{"twofish-128", "ctr"}, Kind{"", "cbc", "plain"}, Kind{"cast5-128", "cbc", "plain"},
        Kind{"", "cbc", "essiv"}, Kind{"", "xts", "essiv", "md5"},
        Kind{"", "ctr", "essiv", "sha256"}, Kind{"aes-128", "cbc", "essiv", "md5"},
        Kind{"cast5-128", "cbc", "essiv", "md5"}, Kind{"serpent-128", "cbc", "essiv", "sha256"},
        Kind{"twofish-256", "cbc", "essiv", "sha256"}, Kind{"", "", "plain64", "sha1"},
        Kind{"", "", "", "", "md5"}, Kind{"", "", "", "", "sha1"}, Kind{"", "", "", "", "sha224"},
        Kind{"", "", "", "", "sha384"}, Kind{"", "", "", "", "sha512"},
        Kind{"", "", "", "", "ripemd160"}),
    [](const auto& kind) { return kind.param.name(); });

// Few: it takes the reference seconds to measure the processor.
class LuksMadeByTheReference : public LuksInterchange {};

TEST_P(LuksMadeByTheReference, OpensForUs) {
  test::qemu_img(
      test::joined(test::joined({"create", "-q", "-f", "luks"}, secret_object("key", kPassphrase)),
                   {"-o", GetParam().words(), path_, std::to_string(kDiskBytes)}));
  EXPECT_EQ(Image::probe(path_), "luks");
  const auto content = written_by_reference(path_);
  EXPECT_TRUE(read_all(path_) == content);
}

INSTANTIATE_TEST_SUITE_P(Kinds, LuksMadeByTheReference,
                         testing::Values(Kind{}, Kind{"aes-128", "cbc", "essiv", "md5"},
                                         Kind{"serpent-192", "", "", "", "sha512"},
                                         Kind{"cast5-128", "ctr", "plain", "", "ripemd160"}),
                         [](const auto& kind) { return kind.param.name(); });

class LuksPassphrases : public testing::Test {
 protected:
  LuksPassphrases() : content_(test::make_content(3, kDiskBytes)) {
    create(path_, test::small_luks_options());
    const auto image = Image::open(path_, open_options(false));
    image->write(0, content_);
    image->close();
  }

  void amend_by_reference(const std::string& change) {
    std::vector<std::string> words = {"amend"};
    words = test::joined(words, secret_object("key", kPassphrase));
    words = test::joined(words, secret_object("new", "new"));
    test::qemu_img(
        test::joined(words, {"--image-opts", test::luks_image_options(path_), "-o", change}));
  }
  void amend(const KeySlotChange& change) {
    const auto image = Image::open(path_, open_options(false));
    AmendOptions options;
    options.key_slot = change;
    image->amend(options);
    image->close();
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.luks");
  const std::vector<std::byte> content_;
};

TEST_F(LuksPassphrases, ThatTheReferenceAddedOpenForUs) {
  amend_by_reference("state=active,new-secret=new,keyslot=7,iter-time=20");
  EXPECT_TRUE(read_all(path_, "new") == content_);
  amend(test::erasing_slot(0));
  EXPECT_TRUE(read_all(path_, "new") == content_);
}

TEST_F(LuksPassphrases, ThatTheReferenceErasedOpenNoMore) {
  amend(test::adding("new"));
  amend_by_reference("state=inactive,old-secret=new");
  EXPECT_TRUE(test::mentions(test::error_of([&] { read_all(path_, "new"); }),
                             {"Invalid password, cannot unlock any keyslot"}));
  EXPECT_TRUE(read_all(path_) == content_);
  amend(test::adding("again"));
  EXPECT_TRUE(test::read_luks_by_reference(path_, "again") == content_);
}

TEST_F(LuksPassphrases, ThatWeAddedOpenForTheReference) {
  amend(test::adding("new", 6));
  EXPECT_TRUE(test::read_luks_by_reference(path_, "new") == content_);
}

TEST_F(LuksPassphrases, ThatWeErasedOrReplacedOpenNoMoreForTheReference) {
  amend(test::adding("new"));
  amend(test::erasing("new"));
  EXPECT_THROW(test::read_luks_by_reference(path_, "new"), std::runtime_error);
  EXPECT_TRUE(test::read_luks_by_reference(path_, kPassphrase) == content_);
  amend(test::forced(test::adding("new", 0)));
  EXPECT_THROW(test::read_luks_by_reference(path_, kPassphrase), std::runtime_error);
  EXPECT_TRUE(test::read_luks_by_reference(path_, "new") == content_);
}

TEST_F(LuksPassphrases, TheReferenceTellsOfOurVolumeWhatWeDo) {
  const auto image = Image::open(path_, open_options(true));
  const LuksInfo info = image->info().luks.value();
  const std::string told = test::qemu_img({"info", path_});
  for (const std::string& line :
       {fmt::format("uuid: {}\n", info.uuid), std::string("cipher alg: aes-128\n"),
        fmt::format("iters: {}\n", info.slots[0].iterations),
        fmt::format("key offset: {}\n", info.slots[7].key_offset_bytes),
        fmt::format("payload offset: {}\n", info.payload_offset_bytes),
        fmt::format("master key iters: {}\n", info.master_key_iterations)}) {
    EXPECT_NE(told.find(line), std::string::npos) << line << told;
  }
}

TEST_F(LuksPassphrases, ResizedHereReadsTheSameThere) {
  {
    const auto image = Image::open(path_, open_options(false));
    image->resize(kDiskBytes + 1024);
    image->write(kDiskBytes, std::vector<std::byte>(1024, std::byte{9}));
    image->close();
  }
  std::vector<std::byte> expected = content_;
  expected.resize(kDiskBytes + 1024, std::byte{9});
  EXPECT_TRUE(test::read_luks_by_reference(path_, kPassphrase) == expected);
}

TEST(LuksPreallocation, TakesTheSpaceAndNothingElse) {
  const test::TempDir dir;
  for (const Preallocation mode :
       {Preallocation::off, Preallocation::falloc, Preallocation::full}) {
    const std::string path = dir.file("disk.luks");
    CreateOptions options;
    options.format = "luks";
    options.size_bytes = 4 << 20;
    options.preallocation = mode;
    options.luks = test::small_luks_options();
    options.secret = test::shared_secret(kPassphrase);
    Image::create(path, options);
    const auto image = Image::open(path, open_options(false));
    const std::uint64_t allocated = image->info().allocated_bytes.value();
    EXPECT_EQ(allocated >= 4 << 20, mode != Preallocation::off) << allocated;
    const auto content = test::make_content(7, 4 << 20);
    image->write(0, content);
    image->close();
    EXPECT_TRUE(test::read_luks_by_reference(path, kPassphrase) == content);
  }
}

}  // namespace
}  // namespace qcowkit
