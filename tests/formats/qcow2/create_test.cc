// New images: byte for byte those of the reference, sound after every crash, and options checked.
#include "formats/qcow2/create.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <vector>

#include "formats/qcow2/header.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"
#include "tests/support/command.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::qcow2 {
namespace {

CreateOptions options_of(std::uint64_t size_bytes) {
  CreateOptions options;
  options.format = "qcow2";
  options.size_bytes = size_bytes;
  return options;
}

const char* name_of(Preallocation preallocation) {
  switch (preallocation) {
    case Preallocation::metadata:
      return "metadata";
    case Preallocation::falloc:
      return "falloc";
    case Preallocation::full:
      return "full";
    default:
      return "off";
  }
}

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

/// True if both hold the same bytes; looks at data only.
bool is_same(Storage& a, Storage& b) {
  if (a.size() != b.size()) return false;
  std::vector<std::byte> bytes_a(1 << 20);
  std::vector<std::byte> bytes_b(1 << 20);
  for (std::uint64_t at = 0; at < a.size();) {
    const StorageExtent x = a.extent_at(at, bytes_a.size());
    const StorageExtent y = b.extent_at(at, bytes_a.size());
    const std::uint64_t length = std::min({x.length_bytes, y.length_bytes, a.size() - at});
    if (!x.is_hole || !y.is_hole) {
      const auto part_a = std::span(bytes_a).first(length);
      const auto part_b = std::span(bytes_b).first(length);
      a.read(at, part_a);
      b.read(at, part_b);
      if (!std::ranges::equal(part_a, part_b)) return false;
    }
    at += length;
  }
  return true;
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

// --- The options.

void expect_refused(const CreateOptions& options, const std::string& message) {
  const auto storage = make_memory_storage();
  storage->write(0, std::vector<std::byte>(100, std::byte{1}));
  for (const bool dry : {true, false}) {
    try {
      if (dry) {
        validate_create_options(options);
      } else {
        create_image(*storage, nullptr, options);
      }
      FAIL() << "accepted, expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Errc::invalid_argument);
      EXPECT_EQ(e.message().substr(0, message.size()), message);
    }
  }
  EXPECT_EQ(storage->size(), 100u) << "something was touched";
}

TEST(CreateOptions, ClusterSizeIsAPowerOfTwoWithinItsLimits) {
  for (const std::uint64_t size : {1ull, 256ull, 513ull, 65535ull, 4ull << 20, 1ull << 63}) {
    CreateOptions options = options_of(1 << 20);
    options.cluster_size_bytes = size;
    expect_refused(options, fmt::format("cluster_size is {}, expected a power of two from 512 to "
                                        "2097152",
                                        size));
  }
  CreateOptions options = options_of(1 << 20);
  options.cluster_size_bytes = 8192;
  EXPECT_NO_THROW(validate_create_options(options));
  options.extended_l2 = true;
  expect_refused(options, "cluster_size is 8192, expected at least 16384 with extended_l2");
}

TEST(CreateOptions, RefcountBitsAreAPowerOfTwoUpTo64) {
  for (const std::uint32_t bits : {0u, 3u, 65u, 128u, 1u << 31}) {
    CreateOptions options = options_of(1 << 20);
    options.refcount_bits = bits;
    expect_refused(options, fmt::format("refcount_bits is {}, expected a power of two", bits));
  }
}

TEST(CreateOptions, Version2HasNoneOfTheFeaturesOfVersion3) {
  struct Case {
    std::function<void(CreateOptions&)> change;
    std::string message;
  };
  const std::vector<Case> cases{
      {[](CreateOptions& o) { o.refcount_bits = 8; },
       "refcount_bits other than 16 needs version 3"},
      {[](CreateOptions& o) { o.lazy_refcounts = true; }, "lazy_refcounts needs version 3"},
      {[](CreateOptions& o) { o.extended_l2 = true; }, "extended_l2 needs version 3"},
      {[](CreateOptions& o) { o.compression = CompressionType::zstd; },
       "compression_type other than zlib (deflate) needs version 3"},
      {[](CreateOptions& o) { o.data_file = "d"; }, "data_file needs version 3"},
      {[](CreateOptions& o) { o.version = 4; }, "compat is version 4"},
      {[](CreateOptions& o) { o.version = 1; }, "compat is version 1"},
  };
  for (const Case& c : cases) {
    CreateOptions options = options_of(1 << 20);
    options.version = 2;
    EXPECT_NO_THROW(validate_create_options(options));
    c.change(options);
    expect_refused(options, c.message);
  }
}

TEST(CreateOptions, SizeIsWhatAnL1TableOf32MiBCovers) {
  expect_refused(
      [] {
        CreateOptions options = options_of(0);
        options.size_bytes.reset();
        return options;
      }(),
      "size is missing");
  struct Case {
    std::uint64_t cluster_size;
    bool extended_l2;
    std::uint64_t size_max;
  };
  for (const Case& c : {Case{512, false, 1ull << 37}, Case{65536, false, 1ull << 51},
                        Case{65536, true, 1ull << 50}, Case{2 << 20, false, 1ull << 61}}) {
    CreateOptions options = options_of(c.size_max);
    options.cluster_size_bytes = c.cluster_size;
    options.extended_l2 = c.extended_l2;
    EXPECT_NO_THROW(validate_create_options(options));
    options.size_bytes = c.size_max + 1;
    expect_refused(options,
                   fmt::format("size is {}, expected at most {}", c.size_max + 1, c.size_max));
  }
}

TEST(CreateOptions, PreallocationBeyondHostOffsetsOrRefcountsIsRefused) {
  CreateOptions options = options_of(1ull << 56);
  options.cluster_size_bytes = 2 << 20;
  options.preallocation = Preallocation::metadata;
  expect_refused(options, "size is 72057594037927936, too large for preallocation");
  options = options_of(64ull << 30);
  options.cluster_size_bytes = 512;
  options.refcount_bits = 64;
  options.preallocation = Preallocation::metadata;
  expect_refused(options, "size is 68719476736, too large for preallocation");
}

TEST(CreateOptions, ReferencesAreCheckedAgainstEachOther) {
  CreateOptions options = options_of(1 << 20);
  options.backing_format = "raw";
  expect_refused(options, "backing_fmt needs backing_file");
  options.backing_file = "base";
  EXPECT_NO_THROW(validate_create_options(options));
  options.preallocation = Preallocation::metadata;
  expect_refused(options, "preallocation with backing_file needs extended_l2");
  options.extended_l2 = true;
  EXPECT_NO_THROW(validate_create_options(options));
  options.data_file_raw = true;
  expect_refused(options, "data_file_raw needs data_file");
  options.data_file = "data";
  expect_refused(options, "data_file_raw and backing_file exclude each other");
}

TEST(CreateOptions, NamesAreLimited) {
  CreateOptions options = options_of(1 << 20);
  options.backing_file = std::string(1023, 'b');
  options.backing_format = std::string(15, 'f');
  EXPECT_NO_THROW(validate_create_options(options));
  options.backing_format += 'f';
  expect_refused(options, "backing_fmt has 16 bytes, expected at most 15");
  options.backing_format = "raw";
  options.backing_file += 'b';
  expect_refused(options, "backing_file has 1024 bytes, expected at most 1023");
  options.backing_file = std::string("a\0b", 3);
  expect_refused(options, "backing_file has a zero byte");

  options = options_of(1 << 20);
  options.cluster_size_bytes = 512;
  options.data_file = std::string(512 - sizeof(RawHeader) - 16, 'd');
  EXPECT_NO_THROW(validate_create_options(options));
  options.data_file += 'd';
  expect_refused(options, "header: extensions and backing file name need 520 bytes");
}

// --- Failures.

CreateOptions preallocated() {
  CreateOptions options = options_of(2 << 20);
  options.cluster_size_bytes = 4096;
  options.preallocation = Preallocation::metadata;
  return options;
}

/// What a crash left: no image, or the whole of it.
void expect_nothing_or_all(Storage& left, Storage& whole) {
  std::vector<std::byte> first(4096);
  left.read(0, first);
  if (!Header::probe(first)) return;
  EXPECT_TRUE(is_same(left, whole));
}

TEST(Create, CrashLeavesNoImageOrTheWhole) {
  const auto whole = make_memory_storage();
  create_image(*whole, nullptr, preallocated());
  MemoryStorage old;  // an image that is replaced
  create_image(old, nullptr, options_of(1 << 20));

  test::CrashDisk rehearsal(old);
  create_image(*rehearsal.open(), nullptr, preallocated());
  for (std::uint64_t n = 0; n <= rehearsal.power().changes(); ++n) {
    test::CrashDisk disk(old);
    disk.power().fail_after(n);
    EXPECT_THROW(create_image(*disk.open(), nullptr, preallocated()), Error);  // no last flush
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      SCOPED_TRACE(fmt::format("after {} changes, seed {}", n, seed));
      const auto left = disk.crash_image(seed);
      if (is_same(*left, old)) continue;  // the emptying was lost
      expect_nothing_or_all(*left, *whole);
    }
  }
}

TEST(Create, EveryFailureIsReportedAndLeavesNoImageThatLooksWhole) {
  const auto whole = make_memory_storage();
  create_image(*whole, nullptr, preallocated());
  for (std::uint64_t at = 1;; ++at) {
    const std::shared_ptr<Storage> behind = make_memory_storage();
    test::FaultStorage storage(behind);
    storage.plan().arm({.at = at, .errno_value = ENOSPC});
    try {
      create_image(storage, nullptr, preallocated());
      EXPECT_FALSE(storage.plan().has_fired());
      EXPECT_TRUE(is_same(*behind, *whole));
      EXPECT_GT(at, 4u);
      return;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), std::errc::no_space_on_device);
      expect_nothing_or_all(*behind, *whole);
    }
  }
}

/// A device: it has its size and its old content.
class Device final : public Storage {
 public:
  explicit Device(std::uint64_t size_bytes) : memory_(make_memory_storage("device")) {
    memory_->write(0, std::vector<std::byte>(size_bytes, std::byte{0xee}));
  }
  void readv(std::uint64_t o, std::span<const iovec> into) override { memory_->readv(o, into); }
  void writev(std::uint64_t o, std::span<const iovec> from) override { memory_->writev(o, from); }
  bool write_zeroes(std::uint64_t o, std::uint64_t n, ZeroOptions options) override {
    return memory_->write_zeroes(o, n, options);
  }
  void discard(std::uint64_t, std::uint64_t) override {}
  void flush() override {}
  void resize(std::uint64_t new_size_bytes, Preallocation) override {
    if (new_size_bytes > size()) throw os_error(ENOSPC, "device: resize");
  }
  std::uint64_t size() const override { return memory_->size(); }
  StorageExtent extent_at(std::uint64_t, std::uint64_t n) const override { return {n, false}; }
  bool can_grow() const noexcept override { return false; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return memory_->name(); }
  void close() override {}

 private:
  std::unique_ptr<Storage> memory_;
};

TEST(Create, DeviceGetsTheSameBytesWhateverItHeld) {
  for (const Preallocation preallocation :
       {Preallocation::off, Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    CreateOptions options = preallocated();
    options.preallocation = preallocation;
    const auto expected = make_memory_storage();
    create_image(*expected, nullptr, options);
    Device device(4 << 20);
    create_image(device, nullptr, options);
    std::vector<std::byte> theirs(expected->size());
    std::vector<std::byte> ours(expected->size());
    expected->read(0, theirs);
    device.read(0, ours);
    EXPECT_EQ(ours, theirs) << name_of(preallocation);
  }
}

TEST(Create, DeviceThatIsTooSmallIsLeftAsItWas) {
  Device device(1 << 20);
  try {
    create_image(device, nullptr, preallocated());
    FAIL() << "created";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), std::errc::no_space_on_device);
  }
  std::vector<std::byte> bytes(1 << 20);
  device.read(0, bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{0xee}), 1 << 20);
}

TEST(Create, DataFileIsEmptiedAndGetsTheDisksSize) {
  const auto storage = make_memory_storage();
  const auto data_file = make_memory_storage();
  data_file->write(0, std::vector<std::byte>(5 << 20, std::byte{1}));
  CreateOptions options = options_of(1 << 20);
  options.data_file = "data";
  create_image(*storage, data_file.get(), options);
  EXPECT_EQ(data_file->size(), 1u << 20);
  std::vector<std::byte> bytes(1 << 20);
  data_file->read(0, bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{0}), 1 << 20);
}

TEST(Create, FewWritesMakeManyTables) {
  const std::shared_ptr<Storage> behind = make_memory_storage();
  test::FaultStorage storage(behind);
  CreateOptions options = options_of(8 << 20);
  options.cluster_size_bytes = 512;
  options.preallocation = Preallocation::metadata;  // 256 L2 tables
  create_image(storage, nullptr, options);
  EXPECT_LT(storage.plan().count(test::kChanges), 20u);
}

}  // namespace
}  // namespace qcowkit::qcow2
