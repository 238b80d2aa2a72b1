// Tests of copy: targets that have a backing file of their own.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "qcowkit/jobs.h"
#include "tests/jobs/copy_fixture.h"
#include "tests/jobs/images.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

using test::data_bytes;
using test::expect_sound;
using test::kMiB;
using test::make_image;
using test::qcow2_options;
using test::read_all;

class CopyOntoBacking : public testing::Test {
 protected:
  std::unique_ptr<Image> open(const std::string& name, bool read_only = true) {
    OpenOptions options;
    options.format = "qcow2";
    options.read_only = read_only;
    return Image::open(dir_.file(name), options);
  }
  std::unique_ptr<Image> overlay(const std::string& name, const std::string& backing,
                                 std::uint64_t size_bytes, std::uint64_t cluster_size_bytes) {
    CreateOptions options = qcow2_options(size_bytes, cluster_size_bytes);
    if (!backing.empty()) {
      options.backing_file = dir_.file(backing);
      options.backing_format = "qcow2";
    }
    Image::create(dir_.file(name), options);
    return open(name, false);
  }

  test::TempDir dir_;
};

TEST_F(CopyOntoBacking, WhatTheSharedBaseProvidesIsNotCopied) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const std::uint64_t base_size : {4 * kMiB, 2 * kMiB + 512, 6 * kMiB}) {
    test::scribble(*overlay("base", "", base_size, 4096), 15, random);
    test::scribble(*overlay("middle", "base", 3 * kMiB + 1024, 65536), 3, random);
    test::scribble(*overlay("top", "middle", 4 * kMiB, 4096), 5, random);
    const auto source = open("top");
    for (const bool compress : {false, true}) {
      const auto target = overlay("target", "base", 4 * kMiB, 65536);
      CopyOptions options;
      options.target_has_backing = true;
      options.shared_base = source->backing()->backing();
      options.compress = compress;
      copy({source.get()}, *target, options);
      EXPECT_EQ(read_all(*target), read_all(*source));
      expect_sound(*target);
    }
  }
}

TEST_F(CopyOntoBacking, UntouchedRangesStayUnallocated) {
  std::mt19937_64 random(1);
  overlay("base", "", 8 * kMiB, 65536)->write(0, data_bytes(8 * kMiB, random));
  overlay("top", "base", 8 * kMiB, 65536)->write(kMiB, data_bytes(65536, random));
  const auto source = open("top");
  const auto target = overlay("target", "base", 8 * kMiB, 65536);
  CopyOptions options;
  options.target_has_backing = true;
  options.shared_base = source->backing();
  copy({source.get()}, *target, options);
  EXPECT_EQ(target->map_layer(0, 8 * kMiB).length_bytes, kMiB);
  EXPECT_EQ(target->map_layer(kMiB, kMiB).length_bytes, 65536u);
  EXPECT_EQ(target->map_layer(kMiB + 65536, kMiB).kind, ExtentKind::unallocated);
}

TEST_F(CopyOntoBacking, WithoutSharedBaseTheBackingFileDoesNotShowThrough) {
  std::mt19937_64 random(1);
  overlay("base", "", 4 * kMiB, 65536)->write(0, data_bytes(4 * kMiB, random));
  const auto source = make_image(qcow2_options(4 * kMiB));
  source->write(kMiB, data_bytes(1000, random));
  const auto target = overlay("target", "base", 4 * kMiB, 65536);
  CopyOptions options;
  options.target_has_backing = true;
  copy({source.get()}, *target, options);
  EXPECT_EQ(read_all(*target), read_all(*source));
}

}  // namespace
}  // namespace qcowkit
