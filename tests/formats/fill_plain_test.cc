#include "formats/fill_plain.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/content.h"

namespace qcowkit {
namespace {

TEST(FillPlain, EveryByteArrivesWhereItBelongs) {
  constexpr std::uint64_t kStart = 12345;
  const auto content = test::make_content(3, (5 << 19) + 7);
  std::vector<std::byte> written(content.size());
  std::size_t runs = 0;
  fill_plain(
      GuestOffset{kStart}, content.size(),
      [&](Storage& storage, std::uint64_t host_offset, std::uint64_t guest_offset,
          std::uint64_t length_bytes) {
        storage.write(host_offset, std::span(content).subspan(guest_offset - kStart, length_bytes));
      },
      [&](GuestOffset at, std::span<const std::byte> run) {
        std::ranges::copy(run, written.begin() + static_cast<std::ptrdiff_t>(at.value - kStart));
        ++runs;
      });
  EXPECT_TRUE(written == content);
  EXPECT_EQ(runs, 3u) << "of at most 1 MiB";
}

TEST(FillPlain, WhatIsNotFilledIsZero) {
  std::vector<std::byte> written;
  fill_plain(
      GuestOffset{0}, 1000, [](Storage&, std::uint64_t, std::uint64_t, std::uint64_t) {},
      [&](GuestOffset, std::span<const std::byte> run) { written.assign(run.begin(), run.end()); });
  EXPECT_EQ(written, std::vector<std::byte>(1000));
}

}  // namespace
}  // namespace qcowkit
