// Images that are opened anew: what becomes of them when that fails.
#include <gtest/gtest.h>

#include "qcowkit/image.h"
#include "qcowkit/node.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::error_of;

constexpr std::uint64_t kBytes = 64 << 10;

class Reopen : public testing::Test {
 protected:
  Reopen() {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = 1 << 20;
    Image::create(path_, options);
  }

  std::unique_ptr<Image> open(bool read_only) const {
    OpenOptions options;
    options.read_only = read_only;
    return Image::open(path_, options);
  }
  static void write(Image& image, std::uint64_t offset, std::uint64_t content) {
    image.write(offset, test::make_content(content, kBytes));
  }
  static void expect_content(Image& image, std::uint64_t offset, std::uint64_t content) {
    std::vector<std::byte> bytes(kBytes);
    image.read(offset, bytes);
    EXPECT_EQ(bytes, test::make_content(content, kBytes));
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

TEST_F(Reopen, WithOptionsThatMakeNoSenseLeavesTheImageInUse) {
  const auto image = open(false);
  write(*image, 0, 1);
  for (const char* changes : {"nonsense=1", "l2-cache-entry-size=3", "overlap-check=nonsense",
                              "backing=nonsense", "file.nonsense=1"}) {
    SCOPED_TRACE(changes);
    const NodeOptions node = NodeOptions::from_list(changes);
    EXPECT_THROW(image->reopen(node, image->open_options()), Error);
    expect_content(*image, 0, 1);
    write(*image, kBytes, 2);
    expect_content(*image, kBytes, 2);
  }
  image->flush();
  EXPECT_EQ(image->check().corruptions, 0u);
  image->close();
  expect_content(*open(true), kBytes, 2);
}

TEST_F(Reopen, ForWritingWhileAnotherReadsFailsAndMeetsNoLockOfItsOwn) {
  {
    const auto image = open(false);
    write(*image, 0, 1);
    image->close();
  }
  const auto image = open(true);
  auto other = open(true);
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_EQ(error_of([&] { image->reopen(false); }).code(), Errc::in_use);
    EXPECT_TRUE(image->is_read_only());
    expect_content(*image, 0, 1);
  }
  other->close();
  image->reopen(false);
  write(*image, 0, 3);
  EXPECT_EQ(error_of([&] { open(true); }).code(), Errc::in_use) << "it is locked again";
  image->reopen(true);
  expect_content(*open(true), 0, 3);
}

TEST_F(Reopen, OfAFileThatIsGoneFails) {
  const auto image = open(true);
  std::filesystem::remove(path_);
  EXPECT_THROW(image->reopen(false), Error);
  EXPECT_NO_THROW(image->close());
}

}  // namespace
}  // namespace qcowkit
