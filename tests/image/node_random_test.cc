// Random trees of nodes: they open, or it is said what is wrong with them.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "qcowkit/image.h"
#include "qcowkit/node.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

std::uint64_t chosen_seed() {
  return test::environment_number("QCOWKIT_SEED").value_or(std::random_device()());
}

/// Grows trees out of the words that mean something, seldom in the right place.
class TreeGrower {
 public:
  TreeGrower(std::uint64_t seed, std::string folder) : random_(seed), folder_(std::move(folder)) {}

  NodeOptions grow(int depth = 0) {
    NodeOptions node;
    if (below(8) != 0) node.set("driver", std::string(pick(driver_names())));
    for (std::uint64_t i = below(4); i > 0; --i) node.set(pick(kKeys), value());
    for (std::uint64_t i = depth < 4 ? below(3) : 0; i > 0; --i) {
      node.set_child(pick(kChildren), grow(depth + 1));
    }
    if (below(2) == 0) node.set("filename", folder_ + "/disk");
    if (below(2) == 0 && node.child("file").empty()) {
      node.set("file.filename", folder_ + "/disk");
    }
    return node;
  }
  std::string name() {
    std::string text;
    for (std::uint64_t i = 1 + below(5); i > 0; --i) text += pick(kPieces);
    return text;
  }

 private:
  static constexpr std::array<std::string_view, 20> kKeys = {
      "read-only",      "size",   "offset",        "vote-threshold", "config",
      "force-share",    "align",  "node-name",     "throttle-group", "key-secret",
      "encrypt.format", "file",   "children",      "backing",        "inject-error.0.event",
      "cache.direct",   "export", "overlap-check", "discard",        "detect-zeroes"};
  static constexpr std::array<std::string_view, 9> kChildren = {
      "file", "image", "raw", "test", "children.0", "children.1", "backing", "data-file", "x"};
  static constexpr std::array<std::string_view, 16> kPieces = {
      "json:", "{",  "}",   "\"driver\":\"qcow2\"", ",",          "[", "\"a\":", "blkdebug:",
      "::",    "1e", "\\u", "blkverify:",           "null-co://", "'", "file:",  "disk"};

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  template <typename Words>
  std::string_view pick(const Words& words) {
    return words[below(words.size())];
  }
  NodeOptions::Value value() {
    switch (below(7)) {
      case 0:
        return nullptr;
      case 1:
        return below(2) == 0;
      case 2:
        return static_cast<std::int64_t>(random_());
      case 3:
        return 1.5;
      case 4:
        return std::string("on");
      case 5:
        return std::string("unmap");
      default:
        return std::to_string(below(4) * 512);
    }
  }

  std::mt19937_64 random_;
  const std::string folder_;
};

class RandomNodes : public testing::Test {
 protected:
  void SetUp() override {
    CreateOptions options;
    options.format = "qcow2";
    options.size_bytes = 1 << 20;
    options.cache = CacheMode::unsafe;
    Image::create(dir_.file("disk"), options);
  }
  const test::TempDir dir_;
};

TEST_F(RandomNodes, OpenOrFailWithAnError) {
  const std::uint64_t seed = chosen_seed();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  TreeGrower grower(seed, dir_.path().string());
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    const NodeOptions node = grower.grow();
    OpenOptions options;
    options.read_only = i % 2 == 0;
    try {
      const auto image = Image::open(node, options);
      std::vector<std::byte> bytes(std::min<std::uint64_t>(4096, image->virtual_size()));
      image->read(0, bytes);
      image->info();
      image->close();
      ++opened;
    } catch (const Error& error) {
      EXPECT_FALSE(error.message().empty());
    }
  }
  EXPECT_GT(opened, 10) << "the trees make too little sense";
}

TEST_F(RandomNodes, NamesAreReadOrRefused) {
  const std::uint64_t seed = chosen_seed();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  TreeGrower grower(seed, dir_.path().string());
  for (int i = 0; i < 20'000; ++i) {
    const std::string name = grower.name();
    try {
      NodeOptions::from_name(name);
    } catch (const Error& error) {
      EXPECT_FALSE(error.message().empty()) << name;
    }
  }
}

}  // namespace
}  // namespace qcowkit
