// Encrypted qcow2 images, written by us and by the reference.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "qcowkit/image.h"
#include "tests/interchange/luks_tools.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

/// A way to encrypt: what it is called in options, by us and by the reference.
struct Method {
  const char* name;
  EncryptionFormat format;
  LuksOptions luks;
  std::string reference_options;
  std::uint32_t version = 3;
  bool extended_l2 = false;
};
std::ostream& operator<<(std::ostream& out, const Method& method) { return out << method.name; }

LuksOptions luks(std::string cipher, std::string mode, std::string ivgen, std::string hash) {
  return {.cipher_alg = std::move(cipher),
          .cipher_mode = std::move(mode),
          .ivgen_alg = std::move(ivgen),
          .ivgen_hash_alg = {},
          .hash_alg = std::move(hash),
          .iter_time_ms = 10};
}

std::vector<Method> methods() {
  const std::string luks_options = "encrypt.format=luks,encrypt.iter-time=10";
  return {
      {"Aes", EncryptionFormat::aes, {}, "encrypt.format=aes"},
      {"AesVersion2", EncryptionFormat::aes, {}, "encrypt.format=aes,compat=0.10", 2},
      {"Luks", EncryptionFormat::luks, luks("", "", "", ""), luks_options},
      {"LuksVersion2", EncryptionFormat::luks, luks("", "", "", ""), luks_options + ",compat=0.10",
       2},
      {"LuksExtendedL2", EncryptionFormat::luks, luks("", "", "", ""),
       luks_options + ",extended_l2=on", 3, true},
      {"LuksCbcEssiv", EncryptionFormat::luks, luks("aes-128", "cbc", "essiv", "sha1"),
       luks_options + ",encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,"
                      "encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha1"},
      {"LuksXtsPlain", EncryptionFormat::luks, luks("aes-128", "xts", "plain", "sha512"),
       luks_options +
           ",encrypt.cipher-alg=aes-128,encrypt.ivgen-alg=plain,encrypt.hash-alg=sha512"},
  };
}

class Encryption : public testing::TestWithParam<Method> {
 protected:
  static constexpr std::uint64_t kSize = 8u << 20;
  static constexpr const char* kPassphrase = "open sesame";

  void make_by_us() {
    CreateOptions options;
    options.format = "qcow2";
    options.version = GetParam().version;
    options.extended_l2 = GetParam().extended_l2;
    options.size_bytes = kSize;
    options.encryption = GetParam().format;
    options.luks = GetParam().luks;
    options.secret = secret_;
    Image::create(path_, options);
  }
  void make_by_reference() {
    test::qemu_img({"create", "-q", "-f", "qcow2", "--object", object_, "-o",
                    GetParam().reference_options + ",encrypt.key-secret=s", path_,
                    std::to_string(kSize)});
  }
  std::unique_ptr<Image> open(bool read_only = false) const {
    OpenOptions options;
    options.read_only = read_only;
    options.secret = secret_;
    return Image::open(path_, options);
  }
  std::string reference_image() const {
    return fmt::format("driver=qcow2,encrypt.key-secret=s,file.filename={}", path_);
  }
  std::vector<std::byte> read_by_reference() const {
    const std::string raw = path_ + ".raw";
    test::qemu_img(
        {"convert", "--object", object_, "--image-opts", "-O", "raw", reference_image(), raw});
    return test::read_file(raw);
  }
  void reference_writes(const std::string& command) {
    const test::CommandResult result = test::run(
        {"qemu-io", "--object", object_, "--image-opts", "-c", command, reference_image()});
    ASSERT_TRUE(result.ok()) << result.out << result.err;
  }
  void reference_checks() {
    EXPECT_NO_THROW(
        test::qemu_img({"check", "--object", object_, "--image-opts", reference_image()}));
  }
  /// Requests of all alignments; returns what the disk holds then.
  void write_here_and_there(std::vector<std::byte>& model) {
    const auto image = open();
    const std::uint64_t cluster = image->cluster_size();
    std::uint64_t content = 1;
    for (const auto& [at, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
             {0, 3 * cluster},
             {5 * cluster + 100, 1000},
             {5 * cluster + 1500, 37},
             {cluster - 1, 2},
             {7 * cluster - 700, 2 * cluster + 1333},
             {kSize - 513, 513}}) {
      const auto bytes = test::make_content(4 * ++content + 3, length);
      image->write(at, bytes);
      std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(at));
    }
    const std::uint64_t zeroed = 8 * cluster - 50;
    image->write_zeroes(zeroed, 100, false);
    std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(zeroed), 100, std::byte{0});
    image->close();
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
  const std::shared_ptr<const Secret> secret_ =
      std::make_shared<const Secret>(std::string_view(kPassphrase));
  const std::string object_ = fmt::format("secret,id=s,data={}", kPassphrase);
};

TEST_P(Encryption, OursIsReadAndWrittenByTheReference) {
  make_by_us();
  std::vector<std::byte> model(kSize);
  EXPECT_TRUE(read_by_reference() == model) << "new";
  write_here_and_there(model);
  EXPECT_TRUE(read_by_reference() == model);
  reference_writes("write -P 9 65k 3k");
  std::fill_n(model.begin() + 65 * 1024, 3 * 1024, std::byte{9});
  std::vector<std::byte> bytes(kSize);
  open(true)->read(0, bytes);
  EXPECT_TRUE(bytes == model);
  reference_checks();
}

TEST_P(Encryption, OfTheReferenceIsReadAndWritten) {
  make_by_reference();
  std::vector<std::byte> model(kSize);
  reference_writes("write -P 9 65k 300k");
  std::fill_n(model.begin() + 65 * 1024, 300 * 1024, std::byte{9});
  std::vector<std::byte> bytes(kSize);
  open(true)->read(0, bytes);
  EXPECT_TRUE(bytes == model);
  write_here_and_there(model);
  EXPECT_TRUE(read_by_reference() == model);
  reference_checks();
}

TEST_P(Encryption, NothingIsReadWithoutTheRightPassphrase) {
  make_by_us();
  const auto locked = Image::open(path_);
  EXPECT_TRUE(locked->info().encrypted);
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(test::mentions(test::error_of([&] { locked->read(0, bytes); }),
                             {"encrypt.key-secret", "required"}));
  if (GetParam().format == EncryptionFormat::aes) return;  // any passphrase makes a key
  OpenOptions options;
  options.secret = std::make_shared<const Secret>(std::string_view("close sesame"));
  EXPECT_TRUE(test::mentions(test::error_of([&] { Image::open(path_, options); }),
                             {"Invalid password, cannot unlock any keyslot"}));
}

TEST_P(Encryption, TheFileDoesNotHoldPlainText) {
  make_by_us();
  const std::string text = "what is written here must not be found there";
  std::vector<std::byte> plain(4096);
  std::memcpy(plain.data() + 100, text.data(), text.size());
  const auto image = open();
  image->write(0, plain);
  image->write(100000, std::as_bytes(std::span(text)));
  image->write_in_place(4 * image->cluster_size(), image->cluster_size(),
                        [&](Storage& storage, std::uint64_t host_offset, auto...) {
                          storage.write(host_offset, plain);
                        });
  image->close();
  const auto file = test::read_file(path_);
  const auto needle = std::as_bytes(std::span(text));
  EXPECT_EQ(std::search(file.begin(), file.end(), needle.begin(), needle.end()), file.end());
}

TEST_P(Encryption, SnapshotsAndResizesKeepWhatIsEncrypted) {
  make_by_us();
  std::vector<std::byte> model(kSize);
  write_here_and_there(model);
  const auto image = open();
  image->create_snapshot({.name = "kept"});
  image->write(0, test::make_content(9, kSize));
  if (GetParam().version == 3) {
    image->resize(kSize + (1u << 20), {Preallocation::metadata, false});
    std::vector<std::byte> added(1u << 20);
    image->read(kSize, added);
    EXPECT_TRUE(added == std::vector<std::byte>(added.size()));
  }
  image->apply_snapshot(SnapshotSelector::id_or_name("kept"));
  image->close();
  EXPECT_TRUE(read_by_reference() == model);
  reference_checks();
}

TEST_P(Encryption, PreallocatedClustersReadAsZeroes) {
  CreateOptions options;
  options.format = "qcow2";
  options.version = GetParam().version;
  options.size_bytes = kSize;
  options.encryption = GetParam().format;
  options.luks = GetParam().luks;
  options.secret = secret_;
  for (const Preallocation mode : {Preallocation::metadata, Preallocation::full}) {
    options.preallocation = mode;
    Image::create(path_, options);
    EXPECT_TRUE(read_by_reference() == std::vector<std::byte>(kSize));
  }
}

TEST_P(Encryption, KeySlotsAreAddedAndErased) {
  if (GetParam().format != EncryptionFormat::luks) GTEST_SKIP();
  make_by_us();
  const auto second = std::make_shared<const Secret>(std::string_view("second"));
  {
    const auto image = open();
    image->write(0, test::make_content(3, 5000));
    AmendOptions add;
    add.key_slot.emplace();
    add.key_slot->new_secret = second;
    add.key_slot->iter_time_ms = 10;
    image->amend(add);
    AmendOptions erase;
    erase.key_slot.emplace();
    erase.key_slot->activate = false;
    erase.key_slot->old_secret = secret_;
    image->amend(erase);
    image->close();
  }
  EXPECT_TRUE(test::mentions(test::error_of([&] { open(); }), {"Invalid password"}));
  OpenOptions options;
  options.secret = second;
  std::vector<std::byte> bytes(5000);
  Image::open(path_, options)->read(0, bytes);
  EXPECT_TRUE(bytes == test::make_content(3, 5000));
  const test::CommandResult result =
      test::run({"qemu-img", "check", "--object", "secret,id=s,data=second", "--image-opts",
                 reference_image()});
  EXPECT_TRUE(result.ok()) << result.err;
}

INSTANTIATE_TEST_SUITE_P(Methods, Encryption, testing::ValuesIn(methods()),
                         [](const auto& method) { return std::string(method.param.name); });

}  // namespace
}  // namespace qcowkit
