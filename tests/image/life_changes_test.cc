// Changes of images as a whole, one behaviour at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "qcowkit/image.h"
#include "storage/memory_storage.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/fault_storage.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 1 << 20;

class LifeChanges : public testing::Test {
 protected:
  void create(CreateOptions options = {}) {
    options.format = "qcow2";
    options.size_bytes = options.size_bytes.value_or(kSize);
    options.cluster_size_bytes = kCluster;
    Image::create(*storage_, options);
    open();
  }
  void open(const OpenOptions& options = {}) { image_ = opened(options); }
  std::unique_ptr<Image> opened(OpenOptions options = {}) const {
    options.read_only = false;
    return Image::open(std::make_unique<FaultStorage>(storage_), options);
  }
  void take_snapshot() { image_->create_snapshot({.name = "snapshot"}); }
  void expect_clean() {
    const CheckReport report = image_->check();
    EXPECT_EQ(report.corruptions + report.leaks + report.check_errors, 0u)
        << (report.messages.empty() ? "" : report.messages.front());
    EXPECT_FALSE(image_->info().dirty);
  }

  const std::shared_ptr<MemoryStorage> storage_ = std::make_shared<MemoryStorage>("disk.qcow2");
  std::unique_ptr<Image> image_;
};

TEST_F(LifeChanges, LazyImageIsCleanWhenItIsClosedAfterASnapshot) {
  CreateOptions options;
  options.lazy_refcounts = true;
  create(options);
  image_->write(0, make_content(3, 9000));
  take_snapshot();
  image_->close();
  OpenOptions check;
  check.for_check = true;
  EXPECT_FALSE(Image::open(std::make_unique<FaultStorage>(storage_), check)->info().dirty);
}

TEST_F(LifeChanges, SeveralAmendmentsAtOnceAllTakeEffect) {
  create();
  image_->write(0, make_content(3, kSize));
  AmendOptions options;
  options.lazy_refcounts = true;
  options.refcount_bits = 64;
  options.size_bytes = kSize / 2;
  image_->amend(options);
  const ImageInfo info = image_->info();
  EXPECT_TRUE(info.qcow2->lazy_refcounts);
  EXPECT_EQ(info.qcow2->refcount_bits, 64u);
  EXPECT_EQ(info.virtual_size_bytes, kSize / 2);
  expect_clean();
}

TEST_F(LifeChanges, DiskOfNothingOpensAgainAndGrows) {
  create();
  image_->write(0, make_content(3, kSize));
  image_->resize(0, {Preallocation::off, true});
  image_->close();
  open();
  EXPECT_EQ(image_->virtual_size(), 0u);
  expect_clean();
  image_->resize(kSize);
  std::vector<std::byte> disk(kSize);
  image_->read(0, disk);
  EXPECT_TRUE(disk == std::vector<std::byte>(kSize));
  expect_clean();
}

TEST_F(LifeChanges, DiskOfNothingIsSoundForTheReference) {
  if (!have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  create();
  image_->write(0, make_content(3, kSize));
  image_->resize(0, {Preallocation::off, true});
  image_->close();
  std::vector<std::byte> bytes(storage_->size());
  storage_->read(0, bytes);
  const TempDir directory;
  write_file(directory.file("disk.qcow2"), bytes);
  EXPECT_NO_THROW(qemu_img({"check", "-f", "qcow2", directory.file("disk.qcow2")}));
  EXPECT_NO_THROW(qemu_img({"resize", "-f", "qcow2", directory.file("disk.qcow2"), "1M"}));
}

TEST_F(LifeChanges, TableThatASnapshotSharedLosesOneReferenceUnderAllOverlapChecks) {
  create();
  image_->write(0, make_content(3, kCluster));
  take_snapshot();
  image_->close();
  OpenOptions options;
  options.overlap_checks = overlap::kAll;
  open(options);
  image_->write(kCluster, make_content(3, kCluster));
  expect_clean();
}

/// Two of us share a file in turns.
TEST_F(LifeChanges, InvalidatedImageForgetsWhatItHasDecompressed) {
  create();
  const auto first = make_content(2, kCluster);
  const auto second = make_content(6, kCluster);
  image_->write_compressed(0, image_->compress(first), first);
  image_->flush();
  std::vector<std::byte> part(100);
  image_->read(0, part);  // a part of a cluster: the whole is kept
  {
    const auto other = opened();
    other->discard(0, kCluster);
    other->flush();
    other->write_compressed(0, other->compress(second), second);
    other->close();
  }
  image_->invalidate();
  image_->read(0, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), second.begin()));
}

TEST_F(LifeChanges, LockedImageIsNotChangedWhereThatNeedsTheKey) {
  CreateOptions options;
  options.encryption = EncryptionFormat::aes;
  options.secret = std::make_shared<Secret>(std::string_view("key"));
  options.backing_file = "base";
  options.backing_format = "raw";
  options.open_backing = false;
  options.format = "qcow2";
  options.size_bytes = kSize;
  options.cluster_size_bytes = kCluster;
  Image::create(*storage_, options);
  OpenOptions unlocked;
  unlocked.secret = options.secret;
  unlocked.open_backing = false;
  image_ = opened(unlocked);
  image_->write_zeroes(0, kCluster, true);
  image_->close();
  OpenOptions locked;
  locked.open_backing = false;
  image_ = opened(locked);
  AmendOptions amend;
  amend.version = 2;
  EXPECT_EQ(error_of([&] { image_->amend(amend); }).code(), Errc::invalid_argument);
  EXPECT_EQ(error_of([&] {
              image_->resize(2 * kSize, {Preallocation::full, false});
            }).code(),
            Errc::invalid_argument);
  EXPECT_EQ(image_->info().qcow2->version, 3u);
  EXPECT_EQ(image_->virtual_size(), kSize);
  image_->close();
  image_ = opened(unlocked);
  expect_clean();
}

}  // namespace
}  // namespace qcowkit::test
