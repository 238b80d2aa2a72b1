// Options of existing images, changed by us and by the reference.
#include <gtest/gtest.h>

#include <random>

#include "tests/interchange/image_kinds.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::ImageKind;

AmendOptions to_version(std::uint32_t version) {
  AmendOptions options;
  options.version = version;
  return options;
}
AmendOptions to_refcount_bits(std::uint32_t bits) {
  AmendOptions options;
  options.refcount_bits = bits;
  return options;
}

/// An image with content, zero clusters, holes, and a snapshot that shares some of it.
class Amend : public testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 4u << 20;
  static constexpr std::uint64_t kCluster = 4096;

  void make(CreateOptions options = {}) {
    options.format = "qcow2";
    options.size_bytes = kSize;
    options.cluster_size_bytes = kCluster;
    options.backing_file = backing_;
    options.backing_format = "raw";
    test::write_file(backing_, test::make_content(6, kSize));
    Image::create(path_, options);
    const auto image = test::open_for_writing(path_);
    image->write(0, test::make_content(1, 64 * kCluster));
    if (options.version == 3) image->write_zeroes(8 * kCluster, 8 * kCluster, true);
    if (options.version == 3) image->write_zeroes(32 * kCluster, 8 * kCluster, false);
    if (options.refcount_bits > 1) image->create_snapshot({.name = "kept"});
    image->write(4 * kCluster, test::make_content(3, 8 * kCluster));
    if (options.version == 3) image->write_zeroes(40 * kCluster, 30 * kCluster, false);
    image->close();
    disk_ = test::read_by_reference(path_);
    snapshot_ = read_snapshot();
  }
  void amend(const AmendOptions& options) {
    const auto image = test::open_for_writing(path_);
    image->amend(options);
    // It goes on without being opened again.
    image->write(100 * kCluster, test::make_content(5, kCluster));
    image->close();
    const auto written = test::make_content(5, kCluster);
    std::copy(written.begin(), written.end(), disk_.begin() + 100 * kCluster);
  }
  void expect_as_before() {
    const auto wrong = test::ask_reference(path_, disk_);
    EXPECT_FALSE(wrong) << *wrong;
    EXPECT_TRUE(read_snapshot() == snapshot_);
  }
  std::vector<std::byte> read_snapshot() {
    OpenOptions options;
    options.snapshot.name = "kept";
    const auto image = Image::open(path_, options);
    std::vector<std::byte> bytes(image->virtual_size());
    image->read(0, bytes);
    return bytes;
  }
  ImageInfo::Qcow2 info() { return *Image::open(path_)->info().qcow2; }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
  const std::string backing_ = dir_.file("backing.raw");
  std::vector<std::byte> disk_;
  std::vector<std::byte> snapshot_;
};

TEST_F(Amend, AnOlderVersionReadsTheSameWithoutZeroFlags) {
  make();
  amend(to_version(2));
  EXPECT_EQ(info().version, 2u);
  expect_as_before();
  amend(to_version(3));
  EXPECT_EQ(info().version, 3u);
  expect_as_before();
}

TEST_F(Amend, RefcountsOfEveryWidthCountTheSame) {
  make();
  for (const std::uint32_t bits : {64u, 2u, 32u, 4u, 8u, 16u}) {
    SCOPED_TRACE(bits);
    amend(to_refcount_bits(bits));
    EXPECT_EQ(info().refcount_bits, bits);
    expect_as_before();
  }
}

TEST_F(Amend, AWidthThatIsTooNarrowChangesNothing) {
  make();
  EXPECT_TRUE(test::mentions(test::error_of([&] { amend(to_refcount_bits(1)); }),
                             {"refcount of 2", "1 bits"}));
  expect_as_before();
}

TEST_F(Amend, LazyRefcountsAreTurnedOnAndOff) {
  make();
  AmendOptions options;
  options.lazy_refcounts = true;
  amend(options);
  EXPECT_TRUE(info().lazy_refcounts);
  expect_as_before();
  options.lazy_refcounts = false;
  amend(options);
  EXPECT_FALSE(info().lazy_refcounts);
  expect_as_before();
}

TEST_F(Amend, BackingReferencesOfAnyLengthAreStored) {
  make();
  for (const std::size_t length :
       {backing_.size(), std::size_t{300}, std::size_t{1000}, backing_.size(), std::size_t{480}}) {
    std::string name = backing_;
    while (name.size() < length) name.insert(name.rfind('/'), "/");
    AmendOptions options;
    options.backing_file = name;
    options.backing_format = "raw";
    amend(options);
    EXPECT_EQ(Image::open(path_)->info().backing_file, name);
    expect_as_before();
  }
  AmendOptions none;
  none.backing_file = "";
  amend(none);
  EXPECT_EQ(Image::open(path_)->info().backing_file, "");
  EXPECT_EQ(Image::open(path_)->info().backing_format, "");
  EXPECT_NO_THROW(test::qemu_img({"check", path_}));
}

TEST_F(Amend, WhatTheOlderVersionCannotSayIsRefused) {
  CreateOptions extended;
  extended.extended_l2 = true;
  extended.format = "qcow2";
  extended.size_bytes = kSize;
  Image::create(path_, extended);
  const auto image = test::open_for_writing(path_);
  EXPECT_TRUE(test::mentions(test::error_of([&] { image->amend(to_version(2)); }),
                             {"incompatible features 0x10"}));
  image->close();
  EXPECT_EQ(info().version, 3u);
}

TEST_F(Amend, OfTheReferenceIsUnderstood) {
  for (const std::string change :
       {"refcount_bits=64", "refcount_bits=4", "lazy_refcounts=on", "size=8M"}) {
    SCOPED_TRACE(change);
    make();
    test::qemu_img({"amend", "-f", "qcow2", "-o", change, path_});
    const auto image = test::open_for_writing(path_);
    std::vector<std::byte> bytes(kSize);
    image->read(0, bytes);
    EXPECT_TRUE(bytes == disk_);
    image->write(50 * kCluster, test::make_content(2, kCluster));
    image->close();
    EXPECT_TRUE(read_snapshot() == snapshot_);
    EXPECT_NO_THROW(test::qemu_img({"check", path_}));
  }
}

}  // namespace
}  // namespace qcowkit
