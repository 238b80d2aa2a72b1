// Options of new images, each at its limits, and those that do not go together.
#include "formats/qcow2/create.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "formats/qcow2/header.h"
#include "qcowkit/error.h"
#include "tests/formats/qcow2/create_fixture.h"

namespace qcowkit::qcow2 {
namespace {

using test::options_of;

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

}  // namespace
}  // namespace qcowkit::qcow2
