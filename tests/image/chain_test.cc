// Chains of backing files, and which files an image may make the library open.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "qcowkit/image.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::error_of;
using test::mentions;

constexpr std::uint64_t kSize = 1 << 20;

class Chain : public testing::Test {
 protected:
  /// Makes an image without looking at its backing file, which need not exist.
  std::string make(const std::string& name, const std::string& backing_file = {},
                   const std::string& backing_format = {}) {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = kSize;
    options.cache = CacheMode::unsafe;
    options.backing_file = backing_file;
    options.backing_format = backing_format;
    options.open_backing = false;
    Image::create(dir_.file(name), options);
    return dir_.file(name);
  }
  /// layer-0, and layer-1 to layer-(`depth` - 1) on top of it. The last one's path.
  std::string make_chain(int depth) {
    std::string top = make("layer-0");
    for (int i = 1; i < depth; ++i) {
      top = make(fmt::format("layer-{}", i), fmt::format("layer-{}", i - 1), "qcow2");
    }
    return top;
  }
  static OpenOptions writable() {
    OpenOptions options;
    options.read_only = false;
    options.cache = CacheMode::unsafe;
    return options;
  }

  const test::TempDir dir_;
};

TEST_F(Chain, EachLayerShowsWhatThoseAboveItDoNotHave) {
  constexpr int kDepth = 12;
  constexpr std::uint64_t kCluster = 65536;
  make_chain(kDepth);
  for (int i = 0; i < kDepth; ++i) {
    const auto layer = Image::open(dir_.file(fmt::format("layer-{}", i)), writable());
    // Each is covered but for its first cluster by the next.
    layer->write(static_cast<std::uint64_t>(i) * kCluster,
                 test::make_content(static_cast<std::uint64_t>(4 * i + 1), 2 * kCluster));
    layer->close();
  }
  const auto top = Image::open(dir_.file(fmt::format("layer-{}", kDepth - 1)));
  for (std::uint64_t i = 0; i < kDepth; ++i) {
    std::vector<std::byte> bytes(kCluster);
    top->read(i * kCluster, bytes);
    EXPECT_TRUE(bytes == test::make_content(4 * i + 1, kCluster)) << i;
    EXPECT_EQ(top->map(i * kCluster, kCluster).depth, kDepth - 1 - i);
  }
}

TEST_F(Chain, MayBeOpenedOverAnotherFileThanTheImageNames) {
  const std::string named = make("named");
  const std::string other = make("other");
  Image::open(other, writable())->write(0, test::make_content(7, kSize));
  OpenOptions options;
  options.backing_file = other;
  for (const std::string& path : {make("top", "named", "qcow2"), make("alone")}) {
    const auto image = Image::open(path, options);
    EXPECT_EQ(image->backing()->filename(), other);
    EXPECT_EQ(image->backing()->backing(), nullptr);
    std::vector<std::byte> bytes(kSize);
    image->read(0, bytes);
    EXPECT_TRUE(bytes == test::make_content(7, kSize));
  }
}

TEST_F(Chain, ImagesThatHaveNoBackingFileAreGivenNone) {
  OpenOptions options;
  options.backing_file = make("other");
  options.format = "raw";
  const Error error = error_of([&] { Image::open(make("plain"), options); });
  EXPECT_EQ(error.code(), Errc::invalid_argument);
  EXPECT_TRUE(mentions(error, {"support", "backing file"}));
}

TEST_F(Chain, LongerThanAllowedIsRefused) {
  const std::string top = make_chain(5);
  OpenOptions options;
  options.references.chain_depth_max = 5;
  Image::open(top, options)->close();
  options.references.chain_depth_max = 4;
  const Error error = error_of([&] { Image::open(top, options); });
  EXPECT_EQ(error.code(), Errc::limit_exceeded);
  EXPECT_TRUE(mentions(error, {top, "backing", "4"}));
  EXPECT_EQ(error.message().find("Could not open backing file"),
            error.message().rfind("Could not open backing file"))
      << "said once, not for each image: " << error.message();
}

TEST_F(Chain, OfTwoHundredImagesOpensByDefault) {
  const std::string top = make_chain(200);
  const auto image = Image::open(top);
  int depth = 0;
  for (const Image* layer = image.get(); layer != nullptr; layer = layer->backing()) ++depth;
  EXPECT_EQ(depth, 200);
}

TEST_F(Chain, ThatComesBackIsCorrupt) {
  const auto expect_loop = [](const std::string& path) {
    const Error error = error_of([&] { Image::open(path); });
    EXPECT_EQ(error.code(), Errc::corrupt) << error.message();
    EXPECT_TRUE(mentions(error, {path, "backing chain comes back"}));
  };
  expect_loop(make("self", "self", "qcow2"));
  make("one", "two", "qcow2");
  make("two", "one", "qcow2");
  expect_loop(dir_.file("one"));
  expect_loop(dir_.file("two"));
  make("three", "./link", "qcow2");
  std::filesystem::create_symlink("three", dir_.file("link"));
  expect_loop(dir_.file("three"));
  make("four", "hard", "qcow2");
  std::filesystem::create_hard_link(dir_.file("four"), dir_.file("hard"));
  expect_loop(dir_.file("four"));
  std::filesystem::create_directory(dir_.file("folder"));
  make("five", "folder/../five", "qcow2");
  expect_loop(dir_.file("five"));
}

TEST_F(Chain, WithoutItsBackingFileNamesIt) {
  const std::string path = make("top", "missing.qcow2", "qcow2");
  const Error error = error_of([&] { Image::open(path); });
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  EXPECT_TRUE(mentions(error, {path, "backing file", dir_.file("missing.qcow2")}));
}

TEST_F(Chain, OverWhatIsNoDiskIsRefused) {
  std::filesystem::create_directory(dir_.file("folder"));
  EXPECT_TRUE(mentions(error_of([&] { Image::open(make("a", "folder", "raw")); }),
                       {"backing file", "folder"}));
  ASSERT_EQ(::mkfifo(dir_.file("fifo").c_str(), 0600), 0);
  EXPECT_TRUE(mentions(error_of([&] { Image::open(make("b", "fifo", "raw")); }),
                       {"backing file", "fifo", "regular file"}))
      << "and nobody waits for the pipe's other end";
  EXPECT_EQ(Image::open(make("c", "/dev/zero", "raw"))->backing()->virtual_size(), 0);
}

TEST_F(Chain, WithABackingFormatThatIsUnknownOrWrongIsRefused) {
  make("base");
  EXPECT_EQ(error_of([&] { Image::open(make("a", "base", "vhdx")); }).code(), Errc::unsupported);
  std::filesystem::resize_file(make("zeroes"), 0);
  std::filesystem::resize_file(dir_.file("zeroes"), 4096);
  EXPECT_EQ(error_of([&] { Image::open(make("b", "zeroes", "qcow2")); }).code(),
            Errc::not_an_image);
}

TEST_F(Chain, OverAnotherProtocolIsRefusedByItsName) {
  for (const std::string protocol : {"http", "https", "ssh", "fat", "rbd"}) {
    const Error error = error_of([&] { Image::open(make("top", protocol + ":whatever", "raw")); });
    EXPECT_EQ(error.code(), Errc::unsupported);
    EXPECT_TRUE(mentions(error, {protocol}));
  }
}

TEST_F(Chain, ANameWithAColonBehindASlashIsAPath) {
  make("a:b");
  EXPECT_NE(Image::open(make("top", "./a:b", "qcow2"))->backing(), nullptr);
  EXPECT_NE(Image::open(make("top", "file:" + dir_.file("a:b"), "qcow2"))->backing(), nullptr);
  EXPECT_NE(Image::open(make("top", dir_.file("a:b"), "qcow2"))->backing(), nullptr);
}

TEST_F(Chain, WhoeverMayFollowNoReferencesOpensNoOtherFile) {
  make("base");
  const std::string path = make("top", "base", "qcow2");
  OpenOptions options;
  options.references = References::none();
  const Error error = error_of([&] { Image::open(path, options); });
  EXPECT_EQ(error.code(), Errc::reference_refused);
  EXPECT_TRUE(mentions(error, {path, dir_.file("base")}));
  options.backing = std::make_shared<const OpenOptions>();
  EXPECT_EQ(error_of([&] { Image::open(path, options); }).code(), Errc::reference_refused)
      << "whatever else the backing file is opened with";
  options.open_backing = false;
  Image::open(path, options)->close();
}

TEST_F(Chain, WhatTheCallerNamesIsNotAskedAbout) {
  OpenOptions options;
  options.references = References::none();
  options.backing_file = make("base");
  EXPECT_NE(Image::open(make("top", "elsewhere", "qcow2"), options)->backing(), nullptr);
  // But what that one names in its turn is.
  make("base", "secret", "raw");
  EXPECT_EQ(error_of([&] { Image::open(dir_.file("top"), options); }).code(),
            Errc::reference_refused);
}

TEST_F(Chain, EachReferenceIsAskedAboutBeforeItIsOpened) {
  const std::string top = make_chain(4);
  std::vector<std::string> asked;
  OpenOptions options;
  options.references.allow = [&](const std::string& path) {
    asked.push_back(path);
    return !path.ends_with("layer-1");
  };
  EXPECT_EQ(error_of([&] { Image::open(top, options); }).code(), Errc::reference_refused);
  EXPECT_EQ(asked, (std::vector{dir_.file("layer-2"), dir_.file("layer-1")}));
}

TEST_F(Chain, ADataFileIsAReferenceToo) {
  CreateOptions create;
  create.format = "qcow2";
  create.size_bytes = kSize;
  create.cache = CacheMode::unsafe;
  create.data_file = dir_.file("data.raw");
  Image::create(dir_.file("top"), create);
  OpenOptions options;
  options.references = References::none();
  const Error error = error_of([&] { Image::open(dir_.file("top"), options); });
  EXPECT_EQ(error.code(), Errc::reference_refused);
  EXPECT_TRUE(mentions(error, {dir_.file("data.raw")}));
  options.open_data_file = false;
  Image::open(dir_.file("top"), options)->close();

  std::filesystem::remove(dir_.file("data.raw"));
  const Error missing = error_of([&] { Image::open(dir_.file("top")); });
  EXPECT_EQ(missing.code(), std::errc::no_such_file_or_directory);
  EXPECT_TRUE(mentions(missing, {dir_.file("top"), dir_.file("data.raw")}));
}

}  // namespace
}  // namespace qcowkit
