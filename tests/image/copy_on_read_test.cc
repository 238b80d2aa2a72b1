// The driver "copy-on-read".
#include "image/copy_on_read.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "image/image_storage.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kSize = 64 * kCluster;

class CopyCounter final : public EventListener {
 public:
  void on_event(Event event, std::uint64_t, std::uint64_t) noexcept override {
    if (event != Event::cor_write) return;
    ++copies;
    if (between_read_and_write) between_read_and_write();
  }
  std::atomic<int> copies = 0;
  /// Called when a copy has been read and is not written yet.
  std::function<void()> between_read_and_write;
};

/// Images over each other: "0" is the lowest one.
class CopyOnRead : public testing::Test {
 protected:
  void make(const std::string& name, const std::string& backing,
            const std::string& format = "qcow2") {
    CreateOptions options;
    options.format = format;
    options.size_bytes = kSize;
    if (format == "qcow2") options.cluster_size_bytes = kCluster;
    options.backing_file = backing;
    if (!backing.empty()) options.backing_format = "qcow2";
    options.cache = CacheMode::unsafe;
    Image::create(dir_.file(name), options);
  }
  std::unique_ptr<Image> open(const std::string& name, bool read_only = false) {
    OpenOptions options;
    options.read_only = read_only;
    options.cache = CacheMode::unsafe;
    options.listener = listener_;
    return Image::open(dir_.file(name), options);
  }
  void write(const std::string& name, std::uint64_t offset, const Bytes& bytes) {
    const auto image = open(name);
    image->write(offset, bytes);
    image->close();
  }
  /// The storage over the image `name`, and the image that it owns.
  std::unique_ptr<Storage> storage_over(const std::string& name,
                                        const CopyOnReadOptions& options = {}) {
    auto storage = make_copy_on_read_storage(open(name), options);
    image_ = &dynamic_cast<ImageStorage&>(*storage).image();
    return storage;
  }
  /// What the top image itself has of a cluster.
  ExtentKind own(std::uint64_t cluster) { return image_->map_layer(cluster * kCluster, 1).kind; }
  static Bytes read(Storage& storage, std::uint64_t offset, std::size_t length) {
    Bytes bytes(length, std::byte{0xee});
    storage.read(offset, bytes);
    return bytes;
  }

  const test::TempDir dir_;
  const std::shared_ptr<CopyCounter> listener_ = std::make_shared<CopyCounter>();
  Image* image_ = nullptr;
};

TEST_F(CopyOnRead, ReadKeepsTheWholeClusters) {
  make("0", "");
  write("0", 0, Bytes(8 * kCluster, std::byte{5}));
  make("1", "0");
  const auto storage = storage_over("1");
  EXPECT_EQ(read(*storage, 100, kCluster), Bytes(kCluster, std::byte{5}));
  EXPECT_EQ(own(0), ExtentKind::data);
  EXPECT_EQ(own(1), ExtentKind::data);
  EXPECT_EQ(own(2), ExtentKind::unallocated);
  EXPECT_EQ(listener_->copies, 1);
  EXPECT_EQ(read(*storage, 0, 2 * kCluster), Bytes(2 * kCluster, std::byte{5}));
  EXPECT_EQ(listener_->copies, 1);
  storage->close();
}

TEST_F(CopyOnRead, ZeroesAreKeptAsZeroClusters) {
  make("0", "");
  write("0", 0, Bytes(kCluster));
  make("1", "0");
  const auto storage = storage_over("1");
  read(*storage, 0, 1);
  read(*storage, 20 * kCluster, 1);
  EXPECT_EQ(own(0), ExtentKind::zero);
  EXPECT_EQ(own(20), ExtentKind::zero);
  EXPECT_EQ(own(21), ExtentKind::unallocated);
  EXPECT_TRUE(storage->extent_at(20 * kCluster, 1).is_hole);
  EXPECT_FALSE(storage->extent_at(21 * kCluster, 1).is_hole);
  storage->close();
}

TEST_F(CopyOnRead, BelowTheBottomNothingIsKept) {
  make("0", "");
  write("0", 0, Bytes(kCluster, std::byte{1}));
  make("1", "0");
  write("1", kCluster, Bytes(kCluster, std::byte{2}));
  make("2", "1");
  const auto storage = storage_over("2", {.bottom_depth = 1});
  const Bytes bytes = read(*storage, 0, 3 * kCluster);
  EXPECT_EQ(bytes[0], std::byte{1});
  EXPECT_EQ(bytes[kCluster], std::byte{2});
  EXPECT_EQ(own(0), ExtentKind::unallocated);
  EXPECT_EQ(own(1), ExtentKind::data);
  EXPECT_EQ(own(2), ExtentKind::unallocated);
  storage->close();
}

TEST_F(CopyOnRead, FormatWithoutClustersHasAllThereIs) {
  make("0", "", "raw");
  const auto storage = storage_over("0");
  EXPECT_EQ(read(*storage, 0, 100), Bytes(100));
  EXPECT_EQ(listener_->copies, 0);
  storage->close();
}

TEST_F(CopyOnRead, ReadOnlyImageIsRefused) {
  make("0", "");
  EXPECT_EQ(test::error_of([&] { make_copy_on_read_storage(open("0", true)); }).message(),
            "Block node is read-only");
}

TEST_F(CopyOnRead, DoesWhatAnArrayDoes) {
  test::for_each_seed(
      10,
      [&](std::uint64_t seed) {
        SCOPED_TRACE(testing::Message() << "QCOWKIT_SEED=" << seed);
        std::mt19937_64 random(seed);
        const std::string suffix = std::to_string(seed);
        make("base" + suffix, "");
        Bytes model(kSize);
        for (int i = 0; i < 6; ++i) {
          const std::size_t at = random() % (kSize - 20'000);
          const Bytes bytes = test::make_content(random(), 20'000);
          write("base" + suffix, at, bytes);
          std::ranges::copy(bytes, model.begin() + static_cast<std::ptrdiff_t>(at));
        }
        make("top" + suffix, "base" + suffix);
        const auto storage = storage_over("top" + suffix);
        for (int step = 0; step < 60; ++step) {
          const std::size_t at = random() % kSize;
          const std::size_t length = 1 + random() % std::min<std::size_t>(kSize - at, 20'000);
          const std::span<std::byte> range = std::span(model).subspan(at, length);
          const auto action = random() % 4;
          if (action == 0) {
            storage->write_zeroes(at, length, {.may_unmap = true});
            std::ranges::fill(range, std::byte{0});
          } else if (action == 1) {
            const Bytes bytes = test::make_content(random(), length);
            storage->write(at, bytes);
            std::ranges::copy(bytes, range.begin());
          } else {
            ASSERT_TRUE(std::ranges::equal(read(*storage, at, length), range));
            const Extent extent = image_->map_layer(at, length);
            EXPECT_NE(extent.kind, ExtentKind::unallocated);
          }
        }
        EXPECT_EQ(read(*storage, 0, kSize), model);
        EXPECT_EQ(image_->check().corruptions, 0U);
        storage->close();
      },
      [] { return testing::Test::HasFailure(); });
}

TEST_F(CopyOnRead, WriteThatComesAmidACopyIsNotUndone) {
  make("0", "");
  write("0", 0, Bytes(kCluster, std::byte{1}));
  make("1", "0");
  const auto storage = storage_over("1");
  std::thread writer;
  listener_->between_read_and_write = [&] {
    writer = std::thread([&] { storage->write(100, Bytes(10, std::byte{2})); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time to do harm
  };
  EXPECT_EQ(read(*storage, 0, 100), Bytes(100, std::byte{1}));
  writer.join();
  EXPECT_EQ(read(*storage, 100, 10), Bytes(10, std::byte{2}));
  storage->close();
}

TEST_F(CopyOnRead, CopiesAmongWritesUndoNone) {
  listener_->between_read_and_write = [] { std::this_thread::yield(); };
  make("0", "");
  write("0", 0, Bytes(kSize, std::byte{0xff}));
  // The writers share each cluster; the readers' copies of it come between their writes.
  constexpr unsigned kWriters = 3;
  constexpr std::size_t kUnit = 512;
  constexpr int kRounds = 5;
  for (int round = 0; round < kRounds; ++round) {
    const std::string name = "top" + std::to_string(round);
    make(name, "0");
    const auto storage = storage_over(name);
    std::vector<std::thread> threads;
    for (unsigned writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        const Bytes bytes(kUnit, static_cast<std::byte>(writer + 1));
        for (std::size_t unit = writer; unit < kSize / kUnit; unit += 8) {
          storage->write(unit * kUnit, bytes);
          EXPECT_EQ(read(*storage, unit * kUnit, kUnit), bytes);
        }
      });
    }
    threads.emplace_back([&] {
      for (std::size_t at = 0; at < kSize; at += 3 * kCluster) {
        read(*storage, at, std::min<std::size_t>(3 * kCluster, kSize - at));
      }
    });
    for (std::thread& thread : threads) thread.join();

    const Bytes found = read(*storage, 0, kSize);
    for (std::size_t unit = 0; unit < kSize / kUnit; ++unit) {
      const int expected = unit % 8 < kWriters ? static_cast<int>(unit % 8) + 1 : 0xff;
      ASSERT_EQ(found[unit * kUnit], static_cast<std::byte>(expected)) << "unit " << unit;
      ASSERT_EQ(found[unit * kUnit + kUnit - 1], static_cast<std::byte>(expected));
    }
    storage->close();
  }
}

}  // namespace
}  // namespace qcowkit
