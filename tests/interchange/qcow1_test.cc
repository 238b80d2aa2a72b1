// Images of version 1 between the reference and us, both ways.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "qcowkit/image.h"
#include "qcowkit/jobs.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit {
namespace {

using test::Operation;
using test::OperationKind;

constexpr std::uint64_t kKiB = 1024;
constexpr const char* kPassword = "geheim";
constexpr std::size_t kOperationsATurn = 40;

struct Kind {
  const char* name;
  std::uint64_t size_bytes;
  const char* backing_format = "";  ///< empty: no backing file
  bool is_encrypted = false;

  bool has_backing() const { return *backing_format != '\0'; }
  std::uint64_t cluster_bytes() const { return has_backing() ? 512 : 4096; }
  std::uint64_t table_covers_bytes() const { return 2 << 20; }
};
void PrintTo(const Kind& kind, std::ostream* to) { *to << kind.name; }

constexpr Kind kKinds[] = {
    {"Plain", 5 * 1024 * kKiB + 512},
    {"BackingRaw", 3 * 1024 * kKiB - 512, "raw"},
    {"BackingQcow2", 1024 * kKiB, "qcow2"},
    {"BackingQcow", 1024 * kKiB, "qcow"},
    {"Encrypted", 3 * 1024 * kKiB + 512, "", true},
    {"EncryptedBacking", 600 * kKiB, "raw", true},
};

/// The reference (7.2) exits with 1 once it has compressed an image of version 1, but the image is
/// whole.
void compress_by_reference(const std::string& raw, const std::string& format,
                           const std::string& path) {
  test::run({"qemu-img", "convert", "-c", "-f", "raw", "-O", format, raw, path});
  test::qemu_img({"compare", "-f", "raw", "-F", format, raw, path});
}

class Qcow1Interchange : public testing::TestWithParam<Kind> {
 protected:
  // --- Making

  /// Shorter than the disk, with data and holes. Returns the name as it is to be stored.
  std::string make_backing() const {
    const std::string raw = dir_.file("base.raw");
    std::vector<std::byte> bytes(GetParam().size_bytes / 4 * 3 / 512 * 512);
    constexpr std::uint64_t kPart = 24 * kKiB;
    for (std::uint64_t at = 0; at < bytes.size(); at += kPart) {
      test::fill_content(at / kPart,
                         std::span(bytes).subspan(at, std::min(kPart, bytes.size() - at)));
    }
    test::write_file(raw, bytes);
    const std::string format = GetParam().backing_format;
    const std::string name = "base." + format;
    if (format != "raw") {
      compress_by_reference(raw, format, dir_.file(name));
    }
    return name;
  }

  void make_by_reference() const {
    std::vector<std::string> words = {"create", "-q", "-f", "qcow"};
    if (GetParam().is_encrypted) {
      words.insert(words.end(), {"--object", secret_object(), "-o",
                                 "encrypt.format=aes,encrypt.key-secret=key"});
    }
    if (GetParam().has_backing()) {
      words.insert(words.end(), {"-b", make_backing(), "-F", GetParam().backing_format});
    }
    words.insert(words.end(), {path_, std::to_string(GetParam().size_bytes)});
    test::qemu_img(words);
  }

  void make_by_us() const {
    CreateOptions options;
    options.format = "qcow";
    options.size_bytes = GetParam().size_bytes;
    if (GetParam().has_backing()) {
      options.backing_file = make_backing();
      options.backing_format = GetParam().backing_format;
    }
    if (GetParam().is_encrypted) {
      options.encryption = EncryptionFormat::aes;
      options.secret = secret();
    }
    Image::create(path_, options);
  }

  // --- Using

  static std::string secret_object() { return fmt::format("secret,id=key,data={}", kPassword); }
  static std::shared_ptr<const Secret> secret() {
    return std::make_shared<const Secret>(std::string_view(kPassword));
  }
  std::string reference_image() const {
    return (GetParam().is_encrypted ? "driver=qcow,encrypt.format=aes,encrypt.key-secret=key"
                                    : "driver=qcow") +
           std::string(",file.filename=") + path_;
  }

  std::unique_ptr<Image> open(bool read_only = false) const {
    OpenOptions options;
    options.read_only = read_only;
    options.cache = CacheMode::unsafe;
    options.l2_cache_bytes = 1;
    if (GetParam().is_encrypted) options.secret = secret();
    return Image::open(path_, options);
  }

  std::vector<std::byte> read_by_reference() const {
    const std::string raw = path_ + ".raw";
    test::qemu_img({"convert", "--object", secret_object(), "--image-opts", "-O", "raw", "-t",
                    "unsafe", reference_image(), raw});
    return test::read_file(raw);
  }

  std::vector<Operation> draw_turn(std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    return test::draw_operations(
        random,
        {GetParam().size_bytes, GetParam().cluster_bytes(), GetParam().table_covers_bytes()},
        kOperationsATurn);
  }

  void reference_turn(std::uint64_t seed) const {
    std::vector<std::string> words = {"qemu-io",       "-t",          "unsafe", "--object",
                                      secret_object(), "--image-opts"};
    for (const Operation& operation : draw_turn(seed)) {
      // A compressed write over a cluster that has a host cluster makes the reference (7.2) put the
      // stream there as if it were the content.
      if (operation.kind == OperationKind::write_compressed) continue;
      const std::string command = qemu_io_command(operation);
      if (!command.empty()) words.insert(words.end(), {"-c", command});
    }
    words.push_back(reference_image());
    const test::CommandResult result = test::run(words);
    ASSERT_TRUE(result.ok()) << result.out << result.err;
  }

  void our_turn(std::uint64_t seed) const {
    SCOPED_TRACE(seed);
    const auto content = read_by_reference();  // before the image is locked
    test::ModelledImage disk(open(), content, !GetParam().has_backing());
    ASSERT_EQ(disk.compare_all(), std::nullopt) << "what the reference wrote";
    for (const Operation& operation : draw_turn(seed)) {
      if (operation.kind == OperationKind::reopen || operation.kind == OperationKind::check) {
        continue;
      }
      ASSERT_EQ(disk.apply(operation), std::nullopt) << describe(operation);
    }
    disk.image().close();
    EXPECT_TRUE(read_by_reference() == disk.model()) << "what we wrote";
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow");
};

TEST_P(Qcow1Interchange, NewImagesAreTheReferencesByteForByte) {
  make_by_reference();
  std::vector<std::byte> expected = test::read_file(path_);
  make_by_us();
  const std::vector<std::byte> ours = test::read_file(path_);
  // The reference writes the L1 table in whole sectors.
  ASSERT_LE(ours.size(), expected.size());
  expected.resize(ours.size());
  EXPECT_TRUE(ours == expected);
}

TEST_P(Qcow1Interchange, OnAnImageOfTheReferenceBothReadTheSame) {
  make_by_reference();
  for (std::uint64_t seed = 1; seed <= 4 && !HasFatalFailure(); seed += 2) {
    reference_turn(seed);
    our_turn(seed + 1);
  }
}

TEST_P(Qcow1Interchange, OnAnImageOfOursBothReadTheSame) {
  make_by_us();
  for (std::uint64_t seed = 11; seed <= 14 && !HasFatalFailure(); seed += 2) {
    our_turn(seed);
    reference_turn(seed + 1);
  }
  our_turn(15);
}

TEST_P(Qcow1Interchange, EmptiedImagesAreUsedOnByBoth) {
  make_by_us();
  our_turn(21);
  {
    const auto image = open();
    image->make_empty();
    image->close();
  }
  reference_turn(22);
  our_turn(23);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Qcow1Interchange, testing::ValuesIn(kKinds),
                         [](const auto& which) { return std::string(which.param.name); });

// --- Converting

class Qcow1Convert : public testing::Test {
 protected:
  void SetUp() override {
    content_.resize(3 * 1024 * kKiB + 1536);
    constexpr std::uint64_t kPart = 11 * kKiB;
    for (std::uint64_t at = 0; at < content_.size(); at += kPart) {
      test::fill_content(at / kPart,
                         std::span(content_).subspan(at, std::min(kPart, content_.size() - at)));
    }
    test::write_file(raw_, content_);
  }

  static std::unique_ptr<Image> open(const std::string& path, const std::string& format,
                                     bool read_only) {
    OpenOptions options;
    options.format = format;
    options.read_only = read_only;
    options.cache = CacheMode::unsafe;
    return Image::open(path, options);
  }

  void convert_by_us(bool compress) const {
    CreateOptions create;
    create.format = "qcow";
    create.size_bytes = content_.size();
    Image::create(path_, create);
    const auto source = open(raw_, "raw", true);
    const auto target = open(path_, "qcow", false);
    CopyOptions options;
    options.compress = compress;
    options.target_is_zero = true;
    options.workers = 2;
    copy({source.get()}, *target, options);
    target->close();
  }

  void expect_content() const {
    test::qemu_img({"compare", "-f", "qcow", "-F", "raw", path_, raw_});
    const auto image = open(path_, "qcow", true);
    std::vector<std::byte> read(image->virtual_size());
    image->read(0, read);
    EXPECT_TRUE(read == content_);
  }

  const test::TempDir dir_;
  const std::string raw_ = dir_.file("content.raw");
  const std::string path_ = dir_.file("disk.qcow");
  std::vector<std::byte> content_;
};

TEST_F(Qcow1Convert, WhatTheReferenceCompressedIsReadAndOverwritten) {
  compress_by_reference(raw_, "qcow", path_);
  expect_content();
  const auto image = open(path_, "", false);
  EXPECT_EQ(image->format(), "qcow");
  const auto bytes = test::make_content(3, 70000);
  image->write(12345, bytes);
  std::copy(bytes.begin(), bytes.end(), content_.begin() + 12345);
  image->close();
  test::write_file(raw_, content_);
  expect_content();
}

TEST_F(Qcow1Convert, WhatWeCopiedIsReadByTheReference) {
  for (const bool compress : {false, true}) {
    convert_by_us(compress);
    expect_content();
  }
}

TEST_F(Qcow1Convert, WhatWeCompressedIsOverwrittenByTheReference) {
  convert_by_us(true);
  test::qemu_io(path_, {"write -P 0xab 5000 100000"}, "qcow");
  std::memset(content_.data() + 5000, 0xab, 100000);
  test::write_file(raw_, content_);
  expect_content();
}

// --- Damage

TEST_F(Qcow1Convert, TruncatedImagesMakeTheToolFailOrAnswerButNotCrash) {
  convert_by_us(true);
  const auto whole = test::read_file(path_);
  for (const std::size_t length : {0, 3, 4, 8, 47, 48, 60, 64, 4096, 5000, 9000, 200000}) {
    SCOPED_TRACE(length);
    ASSERT_LT(length, whole.size());
    test::write_file(path_, std::span(whole).first(length));
    for (const std::string command : {"info", "map", "convert"}) {
      std::vector<std::string> words = {test::tool(), command, "-f", "qcow", path_};
      if (command == "convert") words.insert(words.end(), {"-O", "raw", dir_.file("out")});
      const test::CommandResult result = test::run(words);
      EXPECT_LT(result.exit_code, 128) << result.err;
      EXPECT_TRUE(result.ok() || !result.err.empty());
    }
  }
}

TEST_F(Qcow1Convert, RandomDamageMakesTheImageFailOrAnswerButNotCrash) {
  convert_by_us(true);
  const auto whole = test::read_file(path_);
  constexpr int kRounds = 60;
  std::mt19937_64 random(3);
  for (int i = 0; i < kRounds; ++i) {
    auto bytes = whole;
    for (int damages = 0; damages < 8; ++damages) {
      const std::size_t at = random() % (damages < 3 ? 72 : 12000);
      bytes[at] = static_cast<std::byte>(random());
    }
    test::write_file(path_, bytes);
    try {
      const auto image = open(path_, "qcow", false);
      std::vector<std::byte> part(65536);
      const std::uint64_t end = std::min<std::uint64_t>(image->virtual_size(), 8 << 20);
      for (std::uint64_t at = 0; at + part.size() <= end; at += part.size()) {
        try {
          image->read(at, part);
          image->write(at + 100, std::span(part).first(1000));
        } catch (const Error&) {
          // What cannot be used does not keep the rest from being used.
        }
      }
      image->close();
    } catch (const Error& error) {
      EXPECT_FALSE(error.message().empty());
    }
  }
}

}  // namespace
}  // namespace qcowkit
