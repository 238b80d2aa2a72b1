// Bitmaps that the reference made, used here, and the other way round: the same bits, the same
// flags, and images that both find sound.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "qcowkit/image.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/errors.h"
#include "tests/support/reference_tools.h"
#include "tests/support/seeds.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {
namespace {

std::unique_ptr<Image> open(const std::string& path, bool read_only = false) {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = read_only;
  return Image::open(path, options);
}

std::string runs_of(Image& image, const std::string& name) {
  std::string runs;
  const std::uint64_t size = image.virtual_size();
  for (std::uint64_t at = 0; at < size;) {
    const BitmapExtent extent = image.map_bitmap(name, at, size - at);
    if (extent.is_dirty) runs += fmt::format("{}+{} ", at, extent.length_bytes);
    at += extent.length_bytes;
  }
  return runs;
}

std::string our_runs(const std::string& path, const std::string& name) {
  return runs_of(*open(path, true), name);
}

/// What the reference's server tells of the bitmap to who asks for it.
std::string runs_by_reference(const std::string& path, const std::string& name) {
  const std::string socket = path + ".socket";
  std::filesystem::remove(socket);
  // It ends when its first client leaves.
  BackgroundCommand server({"qemu-nbd", "-f", "qcow2", "-r", "-k", socket, "-B", name, path});
  CommandResult map;
  for (int i = 0; i < 250; ++i) {  // until it listens
    map = run({"qemu-img", "map", "--output=json", "--image-opts",
               "driver=nbd,server.type=unix,server.path=" + socket +
                   ",x-dirty-bitmap=qemu:dirty-bitmap:" + name});
    if (map.ok()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (!map.ok()) throw std::runtime_error("qemu-img map: " + map.err);
  server.finish();
  std::string runs;
  // What is dirty is told of as having no data.
  for (const auto& extent : nlohmann::json::parse(map.out)) {
    if (extent["data"].get<bool>()) continue;
    runs += fmt::format("{}+{} ", extent["start"].get<std::uint64_t>(),
                        extent["length"].get<std::uint64_t>());
  }
  return runs;
}

class Bitmaps : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_command("qemu-img") || !have_command("qemu-io")) GTEST_SKIP() << "no reference";
  }
  void make(const std::string& size, std::uint64_t cluster = 65536) const {
    qemu_img({"create", "-f", "qcow2", "-o", fmt::format("cluster_size={}", cluster), path_, size});
  }
  void expect_sound_to_both() const {
    EXPECT_NO_THROW(qemu_img({"check", path_}));
    const CheckReport report = open(path_, true)->check();
    EXPECT_EQ(report.corruptions + report.leaks, 0u);
  }

  const TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

TEST_F(Bitmaps, ReferencesBitmapsHaveTheSameBitsHere) {
  make("4M", 4096);
  qemu_img({"bitmap", "--add", "-g", "512", path_, "fine"});
  qemu_img({"bitmap", "--add", path_, "default"});
  qemu_img({"bitmap", "--add", "--disable", path_, "disabled"});
  qemu_io(path_, {"write 5k 1k", "discard 100k 9k", "write -z 2M 64k", "write -c 1M 4k"});
  EXPECT_EQ(our_runs(path_, "fine"), "5120+1024 102400+9216 1048576+4096 2097152+65536 ");
  EXPECT_EQ(our_runs(path_, "default"), "4096+4096 102400+12288 1048576+4096 2097152+65536 ");
  EXPECT_EQ(our_runs(path_, "disabled"), "");
}

TEST_F(Bitmaps, OurBitmapsHaveTheSameBitsForTheReference) {
  if (!have_command("qemu-nbd")) GTEST_SKIP() << "no qemu-nbd";
  make("5M", 512);
  const auto image = open(path_);
  image->add_bitmap({.name = "fine", .granularity_bytes = 512});
  image->add_bitmap({.name = "coarse", .granularity_bytes = 1 << 20});
  image->add_bitmap({.name = "all", .granularity_bytes = 512, .enabled = false});
  image->mark_bitmap("all", 0, 5 << 20);
  image->write(5120, make_content(3, 1024));
  image->discard(3 << 20, 1000);
  image->close();
  expect_sound_to_both();
  EXPECT_EQ(runs_by_reference(path_, "fine"), "5120+1024 3145728+1024 ");
  EXPECT_EQ(runs_by_reference(path_, "coarse"), "0+1048576 3145728+1048576 ");
  EXPECT_EQ(runs_by_reference(path_, "all"), "0+5242880 ");
}

TEST_F(Bitmaps, ListingsAgree) {
  make("1M");
  qemu_img({"bitmap", "--add", path_, "one"});
  open(path_)->add_bitmap({.name = "two", .granularity_bytes = 512, .enabled = false});
  const auto info = nlohmann::json::parse(qemu_img({"info", "--output=json", path_}));
  const auto& theirs = info["format-specific"]["data"]["bitmaps"];
  const std::vector<BitmapInfo> ours = open(path_, true)->bitmaps();
  ASSERT_EQ(theirs.size(), 2u);
  ASSERT_EQ(ours.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(theirs[i]["name"], ours[i].name);
    EXPECT_EQ(theirs[i]["granularity"], ours[i].granularity_bytes);
    EXPECT_EQ(theirs[i]["flags"].size(), ours[i].automatic ? 1u : 0u);
  }
}

TEST_F(Bitmaps, BitmapThatAWriterLeftInUseIsInconsistentForBoth) {
  make("1M");
  open(path_)->add_bitmap({.name = "ours"});
  {
    BackgroundCommand reference({"qemu-io", "-f", "qcow2", path_});
    reference.send_line("write 0 64k");
    ASSERT_TRUE(reference.wait_for("wrote"));
  }  // killed
  const auto image = open(path_);
  ASSERT_EQ(image->bitmaps().size(), 1u);
  EXPECT_TRUE(image->bitmaps()[0].in_use);
  EXPECT_EQ(error_of([&] { image->clear_bitmap("ours"); }).code(), Errc::corrupt);
  image->write(0, make_content(3, 512));
  image->add_bitmap({.name = "new"});
  image->close();
  const CommandResult result = run({"qemu-img", "bitmap", "--clear", path_, "ours"});
  EXPECT_NE(result.err.find("is inconsistent"), std::string::npos) << result.err;
  qemu_img({"bitmap", "--remove", path_, "ours"});
  EXPECT_EQ(open(path_, true)->bitmaps().size(), 1u);
  expect_sound_to_both();
}

TEST_F(Bitmaps, WhatWeAnnounceIsInconsistentForTheReference) {
  make("1M");
  const auto image = open(path_);
  image->add_bitmap({.name = "b"});
  image->add_bitmap({.name = "disabled", .enabled = false});
  image->close();
  const std::string crashed = dir_.file("crashed.qcow2");
  const auto writer = open(path_);
  writer->write(0, make_content(3, 512));
  writer->flush();
  write_file(crashed, read_file(path_));
  const auto info = nlohmann::json::parse(qemu_img({"info", "--output=json", crashed}));
  const auto& bitmaps = info["format-specific"]["data"]["bitmaps"];
  EXPECT_EQ(bitmaps[0]["flags"], (nlohmann::json{"in-use", "auto"}));
  EXPECT_EQ(bitmaps[1]["flags"], nlohmann::json::array());
  EXPECT_NO_THROW(qemu_img({"check", crashed}));
  qemu_img({"bitmap", "--remove", crashed, "b"});
}

TEST_F(Bitmaps, DroppedExtensionIsDroppedByBoth) {
  make("1M");
  open(path_)->add_bitmap({.name = "b"});
  std::vector<std::byte> bytes = read_file(path_);
  bytes[95] = std::byte{0};  // the autoclear bit
  write_file(path_, bytes);
  EXPECT_TRUE(open(path_, true)->bitmaps().empty());
  open(path_)->add_bitmap({.name = "c"});
  const auto info = nlohmann::json::parse(qemu_img({"info", "--output=json", path_}));
  ASSERT_EQ(info["format-specific"]["data"]["bitmaps"].size(), 1u);
  qemu_img({"check", "-r", "leaks", path_});
  expect_sound_to_both();
}

TEST_F(Bitmaps, TurnsOfBothAddUp) {
  for_each_seed(
      3,
      [&](std::uint64_t seed) {
        SCOPED_TRACE(fmt::format("QCOWKIT_SEED={}", seed));
        std::mt19937_64 random(seed);
        constexpr std::uint64_t kGranule = 1024;
        std::uint64_t size = 3 << 20;
        make(std::to_string(size), std::uint64_t{512} << random() % 8);
        std::vector<bool> model(size / kGranule);
        open(path_)->add_bitmap({.name = "b", .granularity_bytes = kGranule});
        for (int turn = 0; turn < 8; ++turn) {
          const bool ours = turn % 2 == 0;
          const std::uint64_t begin = random() % (size / 512) * 512;
          const std::uint64_t length = std::min(512 * (1 + random() % 200), size - begin);
          if (turn == 4) {
            size += 1 << 20;
            open(path_)->resize(size, {});
          } else if (turn == 5) {
            size -= 1 << 19;
            qemu_img({"resize", "--shrink", "-f", "qcow2", path_, std::to_string(size)});
          } else if (ours) {
            const auto image = open(path_);
            image->write(begin, make_content(3, length));
            image->close();
          } else {
            qemu_io(path_, {fmt::format("write {} {}", begin, length)});
          }
          model.resize(size / kGranule);
          for (std::uint64_t g = begin / kGranule;
               turn != 4 && turn != 5 && g * kGranule < begin + length; ++g) {
            model[g] = true;
          }
          expect_sound_to_both();
        }
        std::string expected;
        for (std::size_t g = 0; g < model.size();) {
          std::size_t end = g;
          while (end < model.size() && model[end]) ++end;
          if (end > g) expected += fmt::format("{}+{} ", g * kGranule, (end - g) * kGranule);
          g = std::max(end, g + 1);
        }
        EXPECT_EQ(our_runs(path_, "b"), expected);
        if (have_command("qemu-nbd")) {
          EXPECT_EQ(runs_by_reference(path_, "b"), expected);
        }
      },
      [] { return HasFailure(); });
}

}  // namespace
}  // namespace qcowkit::test
