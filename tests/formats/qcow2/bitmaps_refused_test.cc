// Bitmaps that cannot be made, found or changed, and disks that their bitmaps do not let grow.
#include "formats/qcow2/bitmaps.h"

#include <gtest/gtest.h>

#include "tests/formats/qcow2/bitmaps_fixture.h"
#include "tests/support/errors.h"

namespace qcowkit::test {
namespace {

TEST_F(BitmapsTest, ImpossibleBitmapsAreRefusedAndNothingChanges) {
  add("b");
  const auto refused = [&](const Image::NewBitmap& bitmap, Errc code, const std::string& words) {
    const Error error = error_of([&] { layer_->add_bitmap(bitmap); });
    EXPECT_EQ(error.code(), code) << error.message();
    EXPECT_TRUE(mentions(error, {words}));
  };
  refused({.name = "b"}, Errc::invalid_argument, "Bitmap already exists: b");
  refused({.name = ""}, Errc::invalid_argument, "Bitmap name cannot be empty");
  refused({.name = std::string("a\0b", 3)}, Errc::invalid_argument, "zero byte");
  refused({.name = std::string(1024, 'x')}, Errc::limit_exceeded,
          "Name length exceeds maximum (1023 characters)");
  for (const std::uint64_t granularity :
       {std::uint64_t{1}, std::uint64_t{256}, std::uint64_t{5000}, std::uint64_t{1} << 32}) {
    refused({.name = "c", .granularity_bytes = granularity}, Errc::invalid_argument,
            "Granularity must be power of 2 and at least 512");
  }
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
  add(std::string(1023, 'x'), true, 512);
  add("largest granules", true, std::uint64_t{1} << 31);
  open();
  EXPECT_EQ(layer_->bitmaps().size(), 3u);
  expect_clean();
}

TEST_F(SmallClusterBitmapsTest, HeaderWithoutRoomForTheExtensionRefusesTheFirstBitmap) {
  AmendOptions options;
  std::string longest;
  try {
    for (;; longest += 'x') {
      options.backing_file = longest + 'x';
      layer_->amend(options);
    }
  } catch (const Error&) {
    // The name is now the longest that fits.
  }
  ASSERT_GT(longest.size(), 32u);
  EXPECT_EQ(error_of([&] { add("b"); }).code(), Errc::invalid_argument);
  EXPECT_TRUE(layer_->bitmaps().empty());
  options.backing_file = longest.substr(32);  // the extension's size
  layer_->amend(options);
  add("b");
  open();
  EXPECT_EQ(layer_->bitmaps().size(), 1u);
  EXPECT_EQ(header().backing_file, *options.backing_file);
}

TEST_F(BitmapsTest, UnknownNamesAreRefused) {
  for (const auto& use : std::vector<std::function<void()>>{
           [&] { layer_->clear_bitmap("b"); }, [&] { layer_->enable_bitmap("b", false); },
           [&] { layer_->remove_bitmap("b"); }, [&] { layer_->mark_bitmap("b", {0}, 1); },
           [&] { layer_->map_bitmap("b", {0}, 1); }}) {
    const Error error = error_of(use);
    EXPECT_EQ(error.code(), Errc::invalid_argument);
    EXPECT_EQ(error.message(), "Dirty bitmap 'b' not found");
  }
}

class Version2BitmapsTest : public BitmapsTest {
 protected:
  Version2BitmapsTest() : BitmapsTest({.version = 2}) {}
};

TEST_F(Version2BitmapsTest, HasNone) {
  EXPECT_TRUE(layer_->bitmaps().empty());
  const Error error = error_of([&] { add("b"); });
  EXPECT_EQ(error.code(), Errc::unsupported);
  EXPECT_EQ(error.message(),
            "Can't make bitmap 'b' persistent in 'disk.qcow2': Cannot store dirty bitmaps in qcow2 "
            "v2 files");
}

TEST(Bitmaps, BitsAreLimitedToHalfAGigabyte) {
  EXPECT_NO_THROW(qcow2::require_bitmap_fits(std::uint64_t{1} << 41, 9));
  const Error error =
      error_of([] { qcow2::require_bitmap_fits((std::uint64_t{1} << 41) + 512 * 8, 9); });
  EXPECT_EQ(error.code(), Errc::limit_exceeded);
  EXPECT_EQ(error.message(),
            "Too much space will be occupied by the bitmap. Use larger granularity");
}

TEST_F(BitmapsTest, DiskDoesNotOutgrowItsBitmapsNorVanish) {
  layer_->resize(std::uint64_t{1} << 40, {});
  add("b", true, 512);
  const Error large = error_of([&] { layer_->resize(std::uint64_t{1} << 42, {}); });
  EXPECT_EQ(large.code(), Errc::limit_exceeded);
  ResizeOptions shrink;
  shrink.may_shrink = true;
  EXPECT_EQ(error_of([&] { layer_->resize(0, shrink); }).code(), Errc::unsupported);
  EXPECT_EQ(layer_->virtual_size(), std::uint64_t{1} << 40);
  layer_->resize(kDisk, shrink);
  layer_->remove_bitmap("b");
  layer_->resize(0, shrink);
  EXPECT_EQ(error_of([&] { add("b"); }).code(), Errc::unsupported);
  expect_clean();
}

TEST_F(BitmapsTest, ReadOnlyImageAnswersAndRefusesChanges) {
  add("b");
  write(kGranule, 3, 1);
  layer_->close();
  qcow2::Qcow2Layer layer(std::make_unique<FaultStorage>(image_, plan_), nullptr, header(), {});
  const std::uint64_t changes = plan_->count(kChanges);
  EXPECT_EQ(layer.bitmaps().size(), 1u);
  EXPECT_TRUE(layer.map_bitmap("b", {kGranule}, 1).is_dirty);
  EXPECT_EQ(error_of([&] { layer.mark_bitmap("b", {0}, 1); }).code(), Errc::read_only);
  EXPECT_EQ(error_of([&] { layer.add_bitmap({.name = "c"}); }).code(), Errc::read_only);
  layer.close();
  EXPECT_EQ(plan_->count(kChanges), changes);
}

}  // namespace
}  // namespace qcowkit::test
