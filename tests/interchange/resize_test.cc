// Disks that change their size, by us and by the reference.
#include <gtest/gtest.h>

#include "tests/interchange/image_kinds.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::ImageKind;

class Resize : public testing::TestWithParam<ImageKind> {
 protected:
  /// Content all over the disk, so that what a resize loses or reveals shows.
  void fill() {
    const auto image = test::open_for_writing(path_);
    content_ = test::make_content(7, image->virtual_size());
    image->write(0, content_);
    image->close();
  }
  void resize(std::uint64_t size_bytes, Preallocation preallocation = Preallocation::off) {
    const auto image = test::open_for_writing(path_);
    image->resize(size_bytes, {preallocation, true});
    EXPECT_EQ(image->virtual_size(), size_bytes);
    image->close();
    content_.resize(size_bytes);
  }
  // Of a disk whose size is no multiple of a sector's, the reference does not see the end.
  std::uint64_t sectors_of(std::uint64_t bytes) const { return bytes / 512 * 512; }
  void expect_content() {
    const auto wrong = test::ask_reference(path_, content_);
    EXPECT_FALSE(wrong) << *wrong;
  }

  const test::TempDir dir_;
  const std::string path_ = make_by_us(GetParam(), dir_.path().string());
  std::vector<std::byte> content_;
};

TEST_P(Resize, WhatIsAddedReadsAsZeroes) {
  fill();
  const std::uint64_t size = content_.size();
  resize(sectors_of(size) + 512);
  expect_content();
  resize(sectors_of(3 * size));
  expect_content();
}

TEST_P(Resize, WhatIsCutOffDoesNotComeBack) {
  fill();
  const std::uint64_t size = sectors_of(content_.size());
  for (const std::uint64_t kept : {size - 512, sectors_of(size / 2) + 1024, std::uint64_t{512}}) {
    resize(kept);
    expect_content();
    resize(size);
    expect_content();
  }
}

TEST_P(Resize, PreallocatedSpaceReadsAsZeroes) {
  if (GetParam().backing != ImageKind::Backing::none) GTEST_SKIP() << "the backing file would hide";
  fill();
  for (const Preallocation mode :
       {Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    resize(sectors_of(content_.size() + content_.size() / 2), mode);
    expect_content();
  }
}

TEST_P(Resize, SnapshotsKeepTheirSize) {
  if (!GetParam().can_have_snapshots()) GTEST_SKIP();
  fill();
  const auto before = content_;
  const auto image = test::open_for_writing(path_);
  image->create_snapshot({.name = "before"});
  if (GetParam().options.version < 3) {
    EXPECT_EQ(test::error_of([&] { image->resize(before.size() * 2); }).code(), Errc::unsupported);
    return;
  }
  image->close();
  resize(sectors_of(before.size() * 2));
  resize(sectors_of(before.size() / 2));
  expect_content();
  test::qemu_img({"snapshot", "-a", "before", path_});
  EXPECT_EQ(test::read_by_reference(path_), before);
  const auto back = test::open_for_writing(path_);
  back->resize(512, {Preallocation::off, true});
  back->apply_snapshot(SnapshotSelector::id_or_name("before"));
  EXPECT_EQ(back->virtual_size(), before.size());
  back->close();
  content_ = before;
  expect_content();
}

TEST_P(Resize, OfTheReferenceIsUnderstood) {
  if (!GetParam().discards()) GTEST_SKIP() << "the reference cannot grow it over a backing file";
  fill();
  const std::uint64_t size = sectors_of(content_.size());
  for (const std::uint64_t wanted : {size * 2, sectors_of(size / 2), size}) {
    test::qemu_img({"resize", "-q", "--shrink", "-f", "qcow2", path_, std::to_string(wanted)});
    content_ = test::read_by_reference(path_);
    ASSERT_EQ(content_.size(), wanted);
    const auto image = test::open_for_writing(path_);
    std::vector<std::byte> bytes(image->virtual_size());
    image->read(0, bytes);
    EXPECT_TRUE(bytes == content_) << wanted;
    EXPECT_EQ(image->check().corruptions, 0u);
  }
}

TEST_P(Resize, WithoutPermissionNothingIsLost) {
  fill();
  const auto image = test::open_for_writing(path_);
  EXPECT_EQ(test::error_of([&] { image->resize(512); }).code(), Errc::invalid_argument);
  EXPECT_EQ(test::error_of([&] { image->resize(std::uint64_t{1} << 62); }).code(),
            Errc::limit_exceeded);
  image->close();
  expect_content();
}

TEST_P(Resize, AnEmptiedImageReadsAsWhatIsBehindIt) {
  const auto behind = test::read_by_reference(path_);
  fill();
  const auto image = test::open_for_writing(path_);
  image->make_empty();
  image->close();
  content_ = behind;
  expect_content();
}

INSTANTIATE_TEST_SUITE_P(Kinds, Resize, testing::ValuesIn(test::image_kinds()),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace qcowkit
