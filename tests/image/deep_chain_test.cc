// Chains of many images, any of which may change: what the uppermost remembers of those behind it
// must not outlive the change.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/image.h"
#include "qcowkit/jobs.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kCluster = 4096;
constexpr std::uint64_t kClusters = 300;  // more than a region of what is remembered together

/// What an image of the chain has itself, cluster by cluster: bytes of one value, or nothing.
struct LayerModel {
  std::vector<std::optional<std::uint8_t>> clusters;
};

class DeepChain : public testing::Test {
 protected:
  void close() {
    top_.reset();
    images_.clear();
    models_.clear();
  }
  void make(std::size_t depth, std::mt19937_64& random) {
    std::string below;
    for (std::size_t i = 0; i < depth; ++i) {
      // The lower ones may be smaller, or larger.
      const std::uint64_t clusters = kClusters - (i + 1 == depth ? 0 : random() % 100);
      const std::string path = dir_.file(fmt::format("layer-{}", i));
      CreateOptions options;
      options.format = "qcow2";
      options.size_bytes = clusters * kCluster;
      options.cluster_size_bytes = kCluster;
      options.cache = CacheMode::unsafe;
      options.backing_file = below;
      if (!below.empty()) options.backing_format = "qcow2";
      Image::create(path, options);
      below = path;
      models_.insert(models_.begin(), LayerModel{});
      models_.front().clusters.resize(clusters);
    }
    OpenOptions options;
    options.read_only = false;
    options.cache = CacheMode::unsafe;
    top_ = Image::open(below, options);
    for (Image* image = top_.get(); image != nullptr; image = image->backing()) {
      if (image != top_.get()) image->reopen(false);
      images_.push_back(image);
    }
  }

  std::uint8_t expected(std::size_t layer, std::uint64_t cluster) const {
    for (; layer < models_.size() && cluster < models_[layer].clusters.size(); ++layer) {
      if (models_[layer].clusters[cluster]) return *models_[layer].clusters[cluster];
    }
    return 0;
  }
  std::uint64_t size_of(std::size_t layer) const { return models_[layer].clusters.size(); }

  void write(std::size_t layer, std::uint64_t cluster, std::uint8_t value) {
    images_[layer]->write(cluster * kCluster,
                          std::vector<std::byte>(kCluster, static_cast<std::byte>(value)));
    models_[layer].clusters[cluster] = value;
  }
  /// What reads as zeroes may be left to the layers behind, which may change later.
  void adopt_allocation(std::size_t layer) {
    for (std::uint64_t cluster = 0; cluster < size_of(layer); ++cluster) {
      const std::uint8_t value = expected(layer, cluster);
      const Extent extent = images_[layer]->map_layer(cluster * kCluster, kCluster);
      const bool is_its_own = extent.kind != ExtentKind::unallocated;
      models_[layer].clusters[cluster] = is_its_own ? std::optional(value) : std::nullopt;
    }
  }
  void discard(std::size_t layer, std::uint64_t cluster) {
    images_[layer]->discard(cluster * kCluster, kCluster);
    models_[layer].clusters[cluster] = 0;
    adopt_allocation(layer);
  }
  void resize(std::size_t layer, std::uint64_t clusters) {
    const std::uint64_t old_size = size_of(layer);
    images_[layer]->resize(clusters * kCluster, {Preallocation::off, true});
    models_[layer].clusters.resize(clusters);
    // What a larger image behind it has there does not show.
    for (std::uint64_t i = old_size; i < clusters; ++i) models_[layer].clusters[i] = 0;
    expect_content(layer, 0, clusters);
    adopt_allocation(layer);
  }
  void commit_into(std::size_t layer, std::size_t base) {
    // Images between the two would show again where the upper one was emptied.
    CommitOptions options;
    options.keep_top = base != layer + 1;
    commit(*images_[layer], *images_[base], options);
    std::vector<std::optional<std::uint8_t>>& target = models_[base].clusters;
    // What the base grows by does not show what larger images behind it have.
    target.resize(std::max<std::size_t>(target.size(), size_of(layer)), 0);
    for (std::uint64_t cluster = 0; cluster < size_of(layer); ++cluster) {
      for (std::size_t i = layer; i < base; ++i) {
        if (cluster >= size_of(i)) {
          target[cluster] = 0;
          break;
        }
        if (models_[i].clusters[cluster]) {
          target[cluster] = models_[i].clusters[cluster];
          break;
        }
      }
    }
    if (!options.keep_top) std::ranges::fill(models_[layer].clusters, std::nullopt);
    expect_content(base, 0, size_of(base));
    adopt_allocation(base);
  }
  void expect_content(std::size_t layer, std::uint64_t begin, std::uint64_t end) {
    std::vector<std::byte> bytes((end - begin) * kCluster);
    images_[layer]->read(begin * kCluster, bytes);
    for (std::uint64_t cluster = begin; cluster < end; ++cluster) {
      const auto first = bytes.begin() + static_cast<std::ptrdiff_t>((cluster - begin) * kCluster);
      const auto value = static_cast<std::byte>(expected(layer, cluster));
      ASSERT_TRUE(std::all_of(first, first + kCluster, [&](std::byte b) { return b == value; }))
          << "layer " << layer << " cluster " << cluster << " reads "
          << std::to_integer<int>(*first) << ", expected " << std::to_integer<int>(value);
    }
  }
  void change_something(std::mt19937_64& random) {
    const std::size_t bottom = images_.size() - 1;
    const std::size_t layer = random() % images_.size();
    const std::uint64_t cluster = random() % size_of(layer);
    switch (random() % 12) {
      case 0:
        return discard(layer, cluster);
      case 1:
        if (layer != bottom) commit_into(layer, layer + 1 + random() % (bottom - layer));
        return;
      case 2:
        return resize(layer, 200 + random() % 100);
      case 3:
        images_[layer]->reopen(true);
        images_[layer]->reopen(false);
        return;
      case 4:
        images_[layer]->make_empty();
        std::ranges::fill(models_[layer].clusters, std::nullopt);
        return;
      case 5:
        return go_back(layer, cluster, random);
      default:
        return write(layer, cluster, static_cast<std::uint8_t>(random()));
    }
  }
  void go_back(std::size_t layer, std::uint64_t cluster, std::mt19937_64& random) {
    Image::NewSnapshot snapshot;
    snapshot.name = "before";
    SnapshotSelector which;
    which.name = "before";
    images_[layer]->create_snapshot(snapshot);
    const LayerModel before = models_[layer];
    write(layer, cluster, static_cast<std::uint8_t>(random()));
    expect_some_content(random);
    images_[layer]->apply_snapshot(which);
    images_[layer]->delete_snapshot(which);
    models_[layer] = before;
  }
  void expect_some_content(std::mt19937_64& random) {
    const std::size_t layer = random() % 3 == 0 ? random() % images_.size() : 0;
    const std::uint64_t begin = random() % size_of(layer);
    const std::uint64_t end = std::min(size_of(layer), begin + 1 + random() % 40);
    expect_content(layer, begin, end);
  }
  void expect_all_content() {
    for (std::size_t layer = 0; layer < images_.size(); ++layer) {
      expect_content(layer, 0, size_of(layer));
    }
  }

  const test::TempDir dir_;
  std::unique_ptr<Image> top_;
  std::vector<Image*> images_;  // the uppermost first
  std::vector<LayerModel> models_;
};

TEST_F(DeepChain, ReadsWhatTheFirstLayerThatHasItStores) {
  std::mt19937_64 random(1);
  make(40, random);
  for (int i = 0; i < 500; ++i) {
    const std::size_t layer = random() % images_.size();
    write(layer, random() % size_of(layer), static_cast<std::uint8_t>(1 + random() % 255));
  }
  for (int round = 0; round < 2; ++round) expect_all_content();
}

TEST_F(DeepChain, FollowsChangesOfEveryLayer) {
  const auto run = [&](std::uint64_t seed) {
    SCOPED_TRACE(fmt::format("QCOWKIT_SEED={}", seed));
    std::mt19937_64 random(seed);
    close();
    make(4 + random() % 6, random);
    for (int step = 0; step < 100; ++step) {
      ASSERT_NO_FATAL_FAILURE(change_something(random)) << step;
      for (int i = 0; i < 3; ++i) ASSERT_NO_FATAL_FAILURE(expect_some_content(random)) << step;
    }
    ASSERT_NO_FATAL_FAILURE(expect_all_content());
  };
  test::for_each_seed(6, run, [] { return HasFatalFailure(); });
}

TEST_F(DeepChain, ReadersSeeAWriteBehindThemOnceItHasReturned) {
  std::mt19937_64 random(1);
  make(8, random);
  // All that is written is a cluster of one value, larger each time.
  std::atomic<int> written{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  std::atomic<int> wrong{0};
  std::atomic<int> reads{0};
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::vector<std::byte> bytes(3 * kCluster);
      while (!stop) {
        const int at_least = written;
        top_->read(0, bytes);
        if (std::to_integer<int>(bytes[kCluster]) < at_least) ++wrong;
        ++reads;
      }
    });
  }
  // From the bottom upwards, each hides the one before.
  for (std::size_t layer = images_.size(); layer-- > 1;) {
    const int value = static_cast<int>(images_.size() - layer);
    write(layer, 1, static_cast<std::uint8_t>(value));
    written = value;
    for (const int before = reads; reads < before + 4;) std::this_thread::yield();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace qcowkit
