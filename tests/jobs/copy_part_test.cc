// Tests of copies of a part of a source.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "qcowkit/jobs.h"
#include "tests/jobs/images.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using test::Bytes;
using test::error_of;
using test::make_image;
using test::raw_options;
using test::read_all;

constexpr std::uint64_t kKiB = 1 << 10;

TEST(CopyPart, StartsAtTheTargetsStart) {
  std::mt19937_64 random(1);
  const auto source = make_image(test::qcow2_options(1024 * kKiB));
  test::scribble(*source, 20, random);
  const Bytes all = read_all(*source);
  for (const std::uint64_t offset : {0u, 512u, 1000u, 70'000u, 1024u * 1024u, 2'000'000u}) {
    for (const std::uint64_t length : {0u, 512u, 3000u, 200'000u, 5'000'000u}) {
      for (const std::uint64_t sparse_bytes : {0u, 4096u}) {
        const auto target = make_image(test::qcow2_options(1024 * kKiB));
        CopyOptions options;
        options.target_is_zero = true;
        options.sparse_bytes = sparse_bytes;
        options.source_offset_bytes = offset;
        options.length_bytes = length;
        copy({source.get()}, *target, options);
        const std::uint64_t begin = std::min<std::uint64_t>(offset, all.size());
        const std::uint64_t end = std::min<std::uint64_t>(begin + length, all.size());
        Bytes expected(all.begin() + static_cast<std::ptrdiff_t>(begin),
                       all.begin() + static_cast<std::ptrdiff_t>(end));
        expected.resize(all.size());
        ASSERT_EQ(read_all(*target), expected) << offset << " " << length;
      }
    }
  }
}

TEST(CopyPart, OnlyOneSourceHasParts) {
  const auto source = make_image(raw_options(kKiB));
  const auto target = make_image(raw_options(2 * kKiB));
  CopyOptions options;
  options.length_bytes = 512;
  EXPECT_EQ(error_of([&] {
              copy({source.get(), source.get()}, *target, options);
            }).code(),
            Errc::invalid_argument);
}

}  // namespace
}  // namespace qcowkit
