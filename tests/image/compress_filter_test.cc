// The driver "compress".
#include "image/compress_filter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "image/image_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 16 * kCluster + 1024;  // the last cluster is not whole

/// A filter and the image that it owns.
struct Subject {
  explicit Subject(const std::string& format = "qcow2") {
    auto file = make_memory_storage();
    CreateOptions options;
    options.format = format;
    options.size_bytes = kSize;
    if (format == "qcow2") options.cluster_size_bytes = kCluster;
    Image::create(*file, options);
    OpenOptions open;
    open.format = format;
    open.read_only = false;
    storage = make_compress_storage(Image::open(std::move(file), open));
    image = &dynamic_cast<ImageStorage&>(*storage).image();
  }
  ExtentKind kind(std::uint64_t offset) const { return image->map_layer(offset, 1).kind; }
  Bytes read(std::uint64_t offset, std::size_t length) const {
    Bytes bytes(length, std::byte{0xee});
    storage->read(offset, bytes);
    return bytes;
  }
  std::unique_ptr<Storage> storage;
  Image* image;
};

TEST(CompressFilter, WholeAndPartialClustersAreStoredCompressed) {
  const Subject subject;
  subject.storage->write(0, Bytes(kCluster, std::byte{1}));
  subject.storage->write(2 * kCluster + 100, Bytes(10, std::byte{2}));
  subject.storage->write(16 * kCluster, Bytes(1024, std::byte{3}));
  EXPECT_EQ(subject.kind(0), ExtentKind::compressed);
  EXPECT_EQ(subject.kind(kCluster), ExtentKind::unallocated);
  EXPECT_EQ(subject.kind(2 * kCluster), ExtentKind::compressed);
  EXPECT_EQ(subject.kind(16 * kCluster), ExtentKind::compressed);
  EXPECT_EQ(subject.read(2 * kCluster + 100, 10), Bytes(10, std::byte{2}));
}

TEST(CompressFilter, WhatDoesNotGetSmallerIsStoredPlain) {
  const Subject subject;
  subject.storage->write(0, test::make_content(3, kCluster));
  EXPECT_EQ(subject.kind(0), ExtentKind::data);
}

TEST(CompressFilter, OverwritingPartOfACompressedClusterKeepsTheRest) {
  const Subject subject;
  subject.storage->write(0, Bytes(kCluster, std::byte{1}));
  subject.storage->write(1000, Bytes(100, std::byte{2}));
  EXPECT_EQ(subject.read(999, 2), (Bytes{std::byte{1}, std::byte{2}}));
  EXPECT_EQ(subject.read(1099, 2), (Bytes{std::byte{2}, std::byte{1}}));
  EXPECT_EQ(subject.kind(0), ExtentKind::compressed);
}

TEST(CompressFilter, FormatWithoutCompressionIsRefused) {
  EXPECT_EQ(test::error_of([] { const Subject subject("raw"); }).message(),
            "Compression is not supported for underlying format: raw");
}

TEST(CompressFilter, DoesWhatAnArrayDoes) {
  test::for_each_seed(
      10,
      [](std::uint64_t seed) {
        SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
        std::mt19937_64 random(seed);
        const Subject subject;
        Bytes model(kSize);
        for (int step = 0; step < 60; ++step) {
          const std::size_t at = random() % kSize;
          const std::size_t length = 1 + random() % std::min<std::size_t>(kSize - at, 20'000);
          const std::span<std::byte> range = std::span(model).subspan(at, length);
          if (random() % 4 == 0) {
            subject.storage->write_zeroes(at, length, {.may_unmap = true});
            std::ranges::fill(range, std::byte{0});
          } else {
            const Bytes bytes = test::make_content(random(), length);
            subject.storage->write(at, bytes);
            std::ranges::copy(bytes, range.begin());
          }
        }
        EXPECT_EQ(subject.read(0, kSize), model);
        EXPECT_EQ(subject.image->check().corruptions, 0U);
      },
      [] { return testing::Test::HasFailure(); });
}

TEST(CompressFilter, WritersOfOneClusterDoNotUndoEachOther) {
  const Subject subject;
  constexpr unsigned kThreads = 4;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (std::uint64_t at = i * 256; at < kSize; at += std::uint64_t{kThreads} * 256) {
        subject.storage->write(at, Bytes(256, static_cast<std::byte>(i + 1)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Bytes found = subject.read(0, kSize);
  for (std::size_t unit = 0; unit < kSize / 256; ++unit) {
    ASSERT_EQ(found[unit * 256], static_cast<std::byte>(unit % kThreads + 1)) << "unit " << unit;
  }
}

}  // namespace
}  // namespace qcowkit
