// New images, byte for byte those of the reference.
#include "formats/qcow2/create.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "formats/qcow2/limits.h"
#include "tests/formats/qcow2/create_fixture.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::qcow2 {
namespace {

using test::is_same;
using test::name_of;
using test::options_of;

/// The options as the reference's command line takes them.
std::string option_text(const CreateOptions& o) {
  std::string text =
      fmt::format("preallocation={},compat={},refcount_bits={}", name_of(o.preallocation),
                  o.version == 2 ? "0.10" : "1.1", o.refcount_bits);
  const auto add = [&](bool given, const std::string& option) {
    if (given) text += "," + option;
  };
  add(o.cluster_size_bytes != 0, fmt::format("cluster_size={}", o.cluster_size_bytes));
  add(o.lazy_refcounts, "lazy_refcounts=on");
  add(o.extended_l2, "extended_l2=on");
  add(o.compression == CompressionType::zstd, "compression_type=zstd");
  add(!o.backing_file.empty(), "backing_file=" + o.backing_file);
  add(!o.backing_format.empty(), "backing_fmt=" + o.backing_format);
  add(!o.data_file.empty(), "data_file=" + o.data_file);
  add(o.data_file_raw, "data_file_raw=on");
  return text;
}

/// Creates the same image with the reference and with us.
class CreateLikeReference : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::have_command("qemu-img")) GTEST_SKIP() << "no qemu-img";
  }

  /// Files are made anew each time; `directory_` keeps them for a look at both.
  void create_both(CreateOptions options) {
    theirs_ = directory_.file("theirs.qcow2");
    ours_ = directory_.file("ours.qcow2");
    const std::string data_file = directory_.file("data.raw");
    if (!options.data_file.empty()) options.data_file = data_file;
    std::vector<std::string> argv{"qemu-img",          "create", "-q", "-f", "qcow2", "-o",
                                  option_text(options)};
    if (!options.backing_file.empty()) argv.push_back("-u");
    argv.push_back(theirs_);
    argv.push_back(std::to_string(*options.size_bytes));
    const auto result = test::run(argv);
    ASSERT_TRUE(result.ok()) << result.err;

    const auto storage = open_file(ours_, {.create = true});
    std::unique_ptr<Storage> data;
    if (!options.data_file.empty()) data = open_file(data_file, {.create = true});
    create_image(*storage, data.get(), options);
    EXPECT_TRUE(!data || data->size() == *options.size_bytes);
  }

  void expect_sound(const CreateOptions& options) {
    const auto check = test::run({"qemu-img", "check", "-q", ours_});
    EXPECT_TRUE(check.ok()) << option_text(options) << check.out << check.err;
    const auto their_info = test::run({"qemu-img", "info", "-U", theirs_});
    const auto our_info = test::run({"qemu-img", "info", "-U", ours_});
    EXPECT_EQ(without_places(our_info.out), without_places(their_info.out));
  }

  void expect_same(const CreateOptions& options) {
    SCOPED_TRACE(fmt::format("{},size={}", option_text(options), *options.size_bytes));
    ASSERT_NO_FATAL_FAILURE(create_both(options));
    const auto theirs = open_file(theirs_, {.read_only = true});
    const auto ours = open_file(ours_, {.read_only = true});
    EXPECT_EQ(ours->size(), theirs->size());
    EXPECT_TRUE(is_same(*ours, *theirs));
  }

  /// The lines of `info` but those on the file's name and its space.
  static std::string without_places(const std::string& info) {
    std::string kept;
    for (std::size_t at = 0; at < info.size();) {
      const std::size_t end = std::min(info.find('\n', at), info.size());
      const std::string line = info.substr(at, end - at);
      if (line.find("image: ") != 0 && line.find("disk size: ") != 0) kept += line + "\n";
      at = end + 1;
    }
    return kept;
  }

  /// In memory where there is such a place: the reference waits for the disk again and again.
  static std::filesystem::path parent() {
    return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
  }

  test::TempDir directory_{parent()};
  std::string theirs_;
  std::string ours_;
};

TEST_F(CreateLikeReference, WidthsAndSizesGiveTheSameBytes) {
  for (const std::uint64_t cluster_size : {512u, 65536u, 2u << 20}) {
    for (const std::uint32_t refcount_bits : {1u, 16u, 64u}) {
      for (const std::uint64_t size : {0u, (4u << 20) + 512}) {
        CreateOptions options = options_of(size);
        options.cluster_size_bytes = cluster_size;
        options.refcount_bits = refcount_bits;
        expect_same(options);
      }
    }
  }
}

TEST_F(CreateLikeReference, L1TableBeyondTheFirstRefcountBlockGivesTheSameBytes) {
  for (const std::uint64_t clusters_of_l1_table : {253u, 254u, 255u, 8192u}) {
    CreateOptions options = options_of(clusters_of_l1_table << 21);
    options.cluster_size_bytes = 512;
    expect_same(options);
    expect_sound(options);
  }
}

TEST_F(CreateLikeReference, FeaturesGiveTheSameBytes) {
  for (const std::uint32_t version : {2u, 3u}) {
    for (const bool has_backing : {false, true}) {
      CreateOptions options = options_of(10 << 20);
      options.version = version;
      if (has_backing) {
        options.backing_file = "the base image.qcow2";
        options.backing_format = "qcow2";
      }
      expect_same(options);
      if (version == 2) continue;
      options.lazy_refcounts = true;
      expect_same(options);
      options.compression = CompressionType::zstd;
      expect_same(options);
      options.extended_l2 = true;
      expect_same(options);
      options.data_file = "yes";
      expect_same(options);
      if (has_backing) continue;
      expect_sound(options);
      options.data_file_raw = true;
      expect_same(options);
      expect_sound(options);
    }
  }
}

TEST_F(CreateLikeReference, HeadersOfAllClusterSizesGiveTheSameBytes) {
  for (std::uint32_t bits = kClusterBitsMin; bits <= kClusterBitsMax; ++bits) {
    CreateOptions options = options_of(1 << 20);
    options.cluster_size_bytes = std::uint64_t{1} << bits;
    options.backing_file = std::string(300, 'b');
    options.backing_format = "raw";
    expect_same(options);
  }
}

TEST_F(CreateLikeReference, PreallocatedMetadataGivesTheSameBytes) {
  struct Case {
    std::uint64_t size;
    std::uint64_t cluster_size;
    std::uint32_t refcount_bits;
  };
  // Among them: blocks between tables, at a table, and runs cut at 2 GiB.
  for (const Case& c : {Case{1000 * 512, 65536, 16}, Case{1 << 20, 512, 16}, Case{4 << 20, 512, 8},
                        Case{(1u << 30) + 512, 65536, 16}, Case{10ull << 30, 65536, 64},
                        Case{20ull << 30, 128 << 10, 64}, Case{100ull << 30, 2 << 20, 64}}) {
    CreateOptions options = options_of(c.size);
    options.preallocation = Preallocation::metadata;
    options.cluster_size_bytes = c.cluster_size;
    options.refcount_bits = c.refcount_bits;
    expect_same(options);
    expect_sound(options);
    if (c.cluster_size < 65536) continue;
    options.extended_l2 = true;
    expect_same(options);
  }
  for (std::uint64_t clusters = 246; clusters < 253; ++clusters) {
    CreateOptions options = options_of(clusters * 512);
    options.preallocation = Preallocation::metadata;
    options.cluster_size_bytes = 512;
    expect_same(options);
  }
}

TEST_F(CreateLikeReference, PreallocatedSpaceGivesTheSameBytes) {
  for (const Preallocation preallocation : {Preallocation::falloc, Preallocation::full}) {
    for (const std::uint64_t cluster_size : {512u, 4096u, 65536u}) {
      for (const std::uint64_t size : {512u, 1u << 20, (8u << 20) + 512}) {
        CreateOptions options = options_of(size);
        options.preallocation = preallocation;
        options.cluster_size_bytes = cluster_size;
        options.extended_l2 = cluster_size >= 16384;
        expect_same(options);
        expect_sound(options);
      }
    }
  }
}

TEST_F(CreateLikeReference, PreallocationWithDataFileGivesTheSameBytes) {
  for (const Preallocation preallocation :
       {Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    for (const bool raw : {false, true}) {
      CreateOptions options = options_of(3 << 20);
      options.preallocation = preallocation;
      options.data_file = "yes";
      options.data_file_raw = raw;
      expect_same(options);
    }
  }
}

// The reference moves a refcount table that has grown out of its cluster, and leaves a hole where
// it was; ours has its size from the start. And an empty disk needs no other place for it.
TEST_F(CreateLikeReference, RefcountTableOfSeveralClustersGivesAnEqualImage) {
  struct Case {
    Preallocation preallocation;
    std::uint64_t size;
    std::uint32_t refcount_bits;
  };
  for (const Case& c :
       {Case{Preallocation::metadata, 32 << 20, 16}, Case{Preallocation::metadata, 5 << 20, 64},
        Case{Preallocation::off, 8ull << 30, 64}, Case{Preallocation::falloc, 0, 16},
        Case{Preallocation::full, 0, 16}}) {
    CreateOptions options = options_of(c.size);
    options.cluster_size_bytes = 512;
    options.preallocation = c.preallocation;
    options.refcount_bits = c.refcount_bits;
    ASSERT_NO_FATAL_FAILURE(create_both(options));
    expect_sound(options);
    const auto compared = test::run({"qemu-img", "compare", theirs_, ours_});
    EXPECT_TRUE(compared.ok()) << compared.out << compared.err;
  }
}

}  // namespace
}  // namespace qcowkit::qcow2
