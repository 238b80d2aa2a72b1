// Damaged and odd images of the reference: the tool fails with a message, never by a signal, and
// what we do not understand survives our writes.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/endian.h"
#include "qcowkit/image.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit {
namespace {

using test::CommandResult;

class BadInput : public testing::Test {
 protected:
  void make(const std::string& options = "compat=1.1") {
    test::qemu_img({"create", "-q", "-f", "qcow2", "-o", options, path_, "1M"});
    test::qemu_io(path_, {"write -P 1 0 200k", "write -z 256k 64k", "write -c -P 2 512k 64k"});
    test::qemu_img({"snapshot", "-c", "one", path_});
    test::qemu_io(path_, {"write -P 3 64k 1k"});
  }
  void set_field(std::uint64_t offset, std::uint64_t value) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    const be64 raw = value;
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(reinterpret_cast<const char*>(&raw), sizeof raw);
  }
  std::uint64_t field(std::uint64_t offset) const {
    return load_big_endian<std::uint64_t>(test::read_file(path_).data() + offset);
  }
  static OpenOptions writable() {
    OpenOptions options;
    options.read_only = false;
    options.cache = CacheMode::unsafe;
    return options;
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

TEST_F(BadInput, TruncatedImagesMakeTheToolFailOrAnswerButNotCrash) {
  make();
  const auto whole = test::read_file(path_);
  for (const std::size_t length :
       {0, 3, 4, 8, 71, 72, 100, 104, 112, 511, 65536, 65537, 131072, 196608, 262144, 300000}) {
    ASSERT_LT(length, whole.size());
    SCOPED_TRACE(length);
    test::write_file(path_, std::span(whole).first(length));
    for (const std::string command : {"info", "check", "map", "convert"}) {
      std::vector<std::string> words = {test::tool(), command, path_};
      if (command == "convert") words.insert(words.end(), {"-O", "raw", dir_.file("out")});
      const CommandResult result = test::run(words);
      EXPECT_LT(result.exit_code, 64) << command << ": " << result.err;
      if (!result.ok() && command != "check") {
        EXPECT_NE(result.err.find(path_), std::string::npos) << result.err;
      }
    }
  }
}

TEST_F(BadInput, AFeatureThatIsUnknownIsRefusedByTheNameThatTheImageGives) {
  make();
  set_field(72, std::uint64_t{1} << 50);
  const Error error = test::error_of([&] { Image::open(path_); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_TRUE(test::mentions(error, {path_, "50"}));
  EXPECT_FALSE(test::run({"qemu-img", "info", path_}).ok()) << "the reference agrees";

  // A feature name table of one name, where the image has its own.
  set_field(112, std::uint64_t{0x6803f857} << 32 | 48);
  set_field(120, std::uint64_t{0} << 56 | std::uint64_t{50} << 48 | 0x74696d657472);
  set_field(128, 0x6176656c00000000);
  set_field(168, 0);  // the end of the extensions
  const Error named = test::error_of([&] { Image::open(path_); });
  EXPECT_TRUE(test::mentions(named, {"timetravel"}));
}

TEST_F(BadInput, CompatibleFeaturesAreKeptAndAutoclearOnesClearedByAWrite) {
  make();
  set_field(80, std::uint64_t{1} << 40);
  set_field(88, std::uint64_t{1} << 41);
  Image::open(path_)->close();
  EXPECT_EQ(field(88), std::uint64_t{1} << 41) << "reading changes nothing";
  const auto image = Image::open(path_, writable());
  image->write(0, test::make_content(1, 100));
  image->close();
  EXPECT_EQ(field(80), std::uint64_t{1} << 40);
  EXPECT_EQ(field(88), 0u);
}

TEST_F(BadInput, AnExtensionThatIsUnknownSurvivesAWrite) {
  make();
  set_field(112, 0x1234567800000008);
  set_field(120, 0x1122334455667788);
  set_field(128, 0);
  const auto image = Image::open(path_, writable());
  image->write(0, test::make_content(1, 100));
  image->close();
  EXPECT_EQ(field(112), 0x1234567800000008u);
  EXPECT_EQ(field(120), 0x1122334455667788u);
}

TEST_F(BadInput, ASmallFileThatClaimsToBeHugeCostsLittle) {
  // An L1 table of the greatest size, in the hole of a sparse file; nothing is mapped.
  test::qemu_img({"create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", path_, "1M"});
  constexpr std::uint64_t kL1Bytes = 32 << 20;
  const std::uint64_t place = 64 << 20;
  set_field(24, std::uint64_t{1} << 60);
  set_field(32, kL1Bytes / 8);  // crypt_method, and l1_size behind it
  set_field(40, place);
  std::filesystem::resize_file(path_, place + kL1Bytes);
  const auto image = Image::open(path_);
  EXPECT_EQ(image->virtual_size(), std::uint64_t{1} << 60);
  const Extent extent = image->map(0, image->virtual_size());
  EXPECT_EQ(extent.kind, ExtentKind::unallocated);
  EXPECT_EQ(extent.length_bytes, image->virtual_size());
  std::vector<std::byte> bytes(4096, std::byte{1});
  image->read(image->virtual_size() - bytes.size(), bytes);
  EXPECT_TRUE(bytes == std::vector<std::byte>(4096));
}

}  // namespace
}  // namespace qcowkit
