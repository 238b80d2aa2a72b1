#include "formats/qcow1/host_space.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/support/errors.h"

namespace qcowkit::qcow1 {
namespace {

constexpr std::uint64_t kFar = std::uint64_t{1} << 62;

TEST(HostSpace, ClustersFollowTheFilesEndAtTheirAlignment) {
  HostSpace space(1000, kFar);
  EXPECT_EQ(space.allocate(512, 512, kFar).host_offset.value, 1024u);
  EXPECT_EQ(space.allocate(100, 1, kFar).host_offset.value, 1536u);
  EXPECT_EQ(space.allocate(100, 1, kFar).host_offset.value, 1636u);
  EXPECT_EQ(space.allocate(512, 512, kFar).host_offset.value, 2048u);
}

TEST(HostSpace, WhatWasReservedLastIsReservedAgainButNotFresh) {
  HostSpace space(0, kFar);
  const HostSpace::Range first = space.allocate(512, 512, kFar);
  EXPECT_TRUE(first.is_fresh);
  space.release(first.host_offset, 512);
  const HostSpace::Range again = space.allocate(1024, 512, kFar);
  EXPECT_EQ(again.host_offset, first.host_offset);
  EXPECT_FALSE(again.is_fresh);
  EXPECT_TRUE(space.allocate(512, 512, kFar).is_fresh);
}

TEST(HostSpace, WhatLiesBeforeSomethingElseIsLost) {
  HostSpace space(0, kFar);
  const HostSpace::Range first = space.allocate(512, 512, kFar);
  space.allocate(512, 512, kFar);
  space.release(first.host_offset, 512);
  EXPECT_EQ(space.allocate(512, 512, kFar).host_offset.value, 1024u);
}

TEST(HostSpace, WhereTheStorageCannotGrowThereIsNoSpace) {
  HostSpace space(4096, 4096);
  EXPECT_EQ(test::error_of([&] { space.allocate(1, 1, kFar); }).code(),
            std::errc::no_space_on_device);
}

TEST(HostSpace, BeyondTheLastOffsetFilesAreTooBig) {
  HostSpace space(0, kFar);
  space.allocate(1 << 20, 512, kFar);
  EXPECT_EQ(test::error_of([&] { space.allocate(512, 1, 1 << 20); }).code(),
            std::errc::file_too_large);
  EXPECT_EQ(space.allocate(512, 1, (1 << 20) + 512).host_offset.value, 1u << 20);
}

TEST(HostSpace, ResetStartsOver) {
  HostSpace space(100000, kFar);
  space.reset(88);
  const HostSpace::Range range = space.allocate(512, 512, kFar);
  EXPECT_EQ(range.host_offset.value, 512u);
  EXPECT_TRUE(range.is_fresh);
}

}  // namespace
}  // namespace qcowkit::qcow1
