// Images that the reference makes in other ways than by writing: preallocated, converted, left
// dirty.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/interchange/image_kinds.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"
#include "tests/support/temp_dir.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

class SpecialImages : public testing::Test {
 protected:
  /// Reads everything, writes here and there, and has the reference look at the result.
  void use(const std::string& path, const std::vector<std::byte>& content) {
    test::ModelledImage disk(test::open_for_writing(path), content);
    const std::uint64_t cluster = disk.image().cluster_size();
    const std::uint64_t size = disk.image().virtual_size();
    ASSERT_EQ(size, content.size());
    expect_right(disk.compare_all());
    expect_right(disk.check(true));
    using Kind = test::OperationKind;
    for (const test::Operation& operation :
         std::vector<test::Operation>{{Kind::write, 0, 512, 1},
                                      {Kind::write, cluster - 512, cluster, 2},
                                      {Kind::write_zeroes, 3 * cluster, 2 * cluster, 0},
                                      {Kind::discard, 4 * cluster, cluster, 0},
                                      {Kind::write_zeroes_unmap, 6 * cluster, cluster, 0},
                                      {Kind::write, 5 * cluster + 1000, 2 * cluster, 3},
                                      {Kind::write, size - 700, 700, 2}}) {
      if (operation.guest_offset + operation.length_bytes > size) continue;  // large clusters
      expect_right(disk.apply(operation));
    }
    disk.image().close();
    expect_right(test::ask_reference(path, disk.model()));
  }

  static void expect_right(const std::optional<std::string>& wrong) {
    if (wrong) ADD_FAILURE() << *wrong;
  }

  const test::TempDir dir_;
  const std::string path_ = dir_.file("disk.qcow2");
};

TEST_F(SpecialImages, OfTheReferencePreallocatedAreReadAndWritten) {
  for (const std::string mode : {"metadata", "falloc", "full"}) {
    for (const std::string more : {"", ",extended_l2=on", ",cluster_size=4k", ",compat=0.10"}) {
      SCOPED_TRACE(mode + more);
      test::qemu_img({"create", "-q", "-f", "qcow2", "-o", "preallocation=" + mode + more, path_,
                      std::to_string(kMiB)});
      use(path_, std::vector<std::byte>(kMiB));
    }
  }
}

TEST_F(SpecialImages, OfOursPreallocatedAreReadAndWritten) {
  for (const auto mode : {Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    for (const bool extended_l2 : {false, true}) {
      SCOPED_TRACE(fmt::format("mode {} extended_l2 {}", static_cast<int>(mode), extended_l2));
      CreateOptions options;
      options.format = "qcow2";
      options.cache = CacheMode::unsafe;
      options.size_bytes = kMiB;
      options.preallocation = mode;
      options.extended_l2 = extended_l2;
      Image::create(path_, options);
      const std::vector<std::byte> zeroes(kMiB);
      expect_right(test::ask_reference(path_, zeroes));
      use(path_, zeroes);
    }
  }
}

TEST_F(SpecialImages, CompressedByTheReferenceAreReadAndWritten) {
  std::vector<std::byte> content(2 * kMiB + 512);
  for (std::uint64_t at = 0; at < content.size(); at += 40 * kKiB) {
    test::fill_content(at / kKiB / 5,
                       std::span(content).subspan(at, std::min(40 * kKiB, content.size() - at)));
  }
  const std::string raw = dir_.file("disk.raw");
  test::write_file(raw, content);
  for (const std::string options :
       {"compat=0.10", "compression_type=zlib", "compression_type=zstd",
        "compression_type=zstd,extended_l2=on", "cluster_size=512", "cluster_size=2M",
        "cluster_size=4k,refcount_bits=1", "refcount_bits=64,compression_type=zstd"}) {
    SCOPED_TRACE(options);
    test::qemu_img({"convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, path_});
    use(path_, content);
  }
}

TEST_F(SpecialImages, LeftDirtyByTheReferenceAreRepairedWhenOpenedForWriting) {
  test::qemu_img({"create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path_, "1M"});
  // The process ends without closing the image.
  const test::CommandResult killed =
      test::run({"qemu-io", "-f", "qcow2", "-c", "write -P 7 100k 200k", "-c", "flush", "-c",
                 "sigraise 9", path_});
  ASSERT_EQ(killed.exit_code, 128 + 9) << killed.out << killed.err;
  ASSERT_FALSE(test::run({"qemu-img", "check", "-f", "qcow2", path_}).ok());
  std::vector<std::byte> content(kMiB);
  std::fill_n(content.begin() + 100 * kKiB, 200 * kKiB, std::byte{7});

  {
    const auto image = Image::open(path_);
    EXPECT_TRUE(image->info().dirty);
    std::vector<std::byte> read(kMiB);
    image->read(0, read);
    EXPECT_EQ(read, content) << "a dirty image can be read as it is";
  }
  use(path_, content);
  EXPECT_FALSE(Image::open(path_)->info().dirty);
}

}  // namespace
}  // namespace qcowkit
