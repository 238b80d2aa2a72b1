// Creating images by name.
#include <gtest/gtest.h>

#include <filesystem>

#include "qcowkit/image.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::error_of;
using test::mentions;

class Create : public testing::Test {
 protected:
  Create() {
    qcow2_.format = "qcow2";
    qcow2_.size_bytes = 1 << 20;
    qcow2_.cache = CacheMode::unsafe;
  }
  Error create_error(const CreateOptions& options) {
    return error_of([&] { Image::create(path_, options); });
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk");
  CreateOptions qcow2_;
};

TEST_F(Create, ARawImageHasItsSizeAndNoMore) {
  for (const auto mode : {Preallocation::off, Preallocation::falloc, Preallocation::full}) {
    CreateOptions options;
    options.size_bytes = 100 * 512;
    options.preallocation = mode;
    options.cache = CacheMode::unsafe;
    Image::create(path_, options);
    EXPECT_EQ(std::filesystem::file_size(path_), 100 * 512u);
    EXPECT_EQ(Image::open(path_)->virtual_size(), 100 * 512u);
  }
}

TEST_F(Create, ReplacesWhatWasThere) {
  test::write_file(path_, test::make_content(3, 3 << 20));
  Image::create(path_, qcow2_);
  const auto image = Image::open(path_);
  EXPECT_EQ(image->format(), "qcow2");
  EXPECT_EQ(image->check().leaks, 0u);
  std::vector<std::byte> bytes(1 << 20, std::byte{1});
  image->read(0, bytes);
  EXPECT_TRUE(bytes == std::vector<std::byte>(1 << 20));
}

TEST_F(Create, OptionsThatMakeNoSenseLeaveTheFileAsItWas) {
  const auto precious = test::make_content(3, 5000);
  const auto expect_refused = [&](auto change, const std::vector<std::string>& words) {
    test::write_file(path_, precious);
    CreateOptions options = qcow2_;
    change(options);
    const Error error = create_error(options);
    EXPECT_TRUE(mentions(error, {path_}));
    EXPECT_TRUE(mentions(error, words));
    EXPECT_TRUE(test::read_file(path_) == precious) << error.message();
  };
  using O = CreateOptions;
  expect_refused([](O& o) { o.cluster_size_bytes = 256; }, {"cluster_size", "256"});
  expect_refused([](O& o) { o.cluster_size_bytes = 4 << 20; }, {"cluster_size", "4194304"});
  expect_refused([](O& o) { o.cluster_size_bytes = 5000; }, {"cluster_size", "5000"});
  expect_refused([](O& o) { o.refcount_bits = 3; }, {"refcount_bits", "3"});
  expect_refused([](O& o) { o.refcount_bits = 128; }, {"refcount_bits", "128"});
  expect_refused([](O& o) { o.version = 1; }, {"version", "1"});
  expect_refused([](O& o) { o.version = 4; }, {"version", "4"});
  expect_refused([](O& o) { o.version = 2, o.refcount_bits = 8; }, {"refcount_bits"});
  expect_refused([](O& o) { o.version = 2, o.lazy_refcounts = true; }, {"lazy_refcounts"});
  expect_refused([](O& o) { o.version = 2, o.extended_l2 = true; }, {"extended_l2"});
  expect_refused([](O& o) { o.extended_l2 = true, o.cluster_size_bytes = 8192; },
                 {"cluster_size", "8192"});
  expect_refused([](O& o) { o.version = 2, o.compression = CompressionType::zstd; },
                 {"compression_type"});
  expect_refused([](O& o) { o.data_file_raw = true; }, {"data_file_raw", "data_file"});
  expect_refused([](O& o) { o.backing_format = "raw"; }, {"backing"});
  expect_refused([](O& o) { o.backing_file = std::string(1024, 'x'), o.open_backing = false; },
                 {"backing_file", "1024"});
  expect_refused([](O& o) { o.size_bytes = std::uint64_t{1} << 63; }, {"size"});
  expect_refused([](O& o) { o.size_bytes.reset(); }, {"size"});
  expect_refused([](O& o) { o.format = "vmdk"; }, {"vmdk"});
  expect_refused([](O& o) { o.backing_file = "nowhere"; }, {"backing", "nowhere"});
}

TEST_F(Create, TheSizeComesFromTheBackingFile) {
  Image::create(dir_.file("base"), qcow2_);
  CreateOptions options = qcow2_;
  options.size_bytes.reset();
  options.backing_file = "base";
  options.backing_format = "qcow2";
  Image::create(path_, options);
  EXPECT_EQ(Image::open(path_)->virtual_size(), std::uint64_t{1} << 20);
}

TEST_F(Create, AnImageIsNeitherItsOwnBackingFileNorItsOwnDataFile) {
  Image::create(path_, qcow2_);
  CreateOptions backed = qcow2_;
  backed.backing_file = "disk";
  backed.backing_format = "qcow2";
  EXPECT_EQ(create_error(backed).code(), Errc::invalid_argument);
  std::filesystem::create_symlink("disk", dir_.file("link"));
  backed.backing_file = "link";
  EXPECT_EQ(create_error(backed).code(), Errc::invalid_argument);
  CreateOptions own_data = qcow2_;
  own_data.data_file = path_;
  EXPECT_EQ(create_error(own_data).code(), Errc::invalid_argument);
  EXPECT_EQ(Image::open(path_)->format(), "qcow2") << "it is still there";
}

TEST_F(Create, AnImageInUseIsNotReplaced) {
  Image::create(path_, qcow2_);
  const auto user = Image::open(path_);
  const Error error = create_error(qcow2_);
  EXPECT_EQ(error.code(), Errc::in_use);
  EXPECT_TRUE(mentions(error, {path_}));
  std::vector<std::byte> bytes(512);
  user->read(0, bytes);
}

TEST_F(Create, WhereNoFileCanBeSaysWhy) {
  const std::string nowhere = dir_.file("missing/disk");
  const Error error = error_of([&] { Image::create(nowhere, qcow2_); });
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  EXPECT_TRUE(mentions(error, {nowhere}));
  const Error folder = error_of([&] { Image::create(dir_.path().string(), qcow2_); });
  EXPECT_EQ(folder.code(), std::errc::is_a_directory);
}

TEST_F(Create, ADataFileIsCreatedAndEmptied) {
  const std::string data = dir_.file("data.raw");
  test::write_file(data, test::make_content(3, 5 << 20));
  CreateOptions options = qcow2_;
  options.data_file = data;
  options.data_file_raw = true;
  Image::create(path_, options);
  EXPECT_TRUE(test::read_file(data) == std::vector<std::byte>(1 << 20));
  EXPECT_EQ(Image::open(path_)->info().qcow2->data_file, data);
}

}  // namespace
}  // namespace qcowkit
