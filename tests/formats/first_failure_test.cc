// A failure that stays.
#include "formats/first_failure.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace qcowkit {
namespace {

TEST(FirstFailure, WithoutAFailureEachFlushIsMade) {
  FirstFailure failure;
  int flushes = 0;
  failure.guard([&] { ++flushes; });
  failure.guard([&] { ++flushes; });
  EXPECT_EQ(flushes, 2);
  EXPECT_FALSE(failure.get());
}

TEST(FirstFailure, AFailedFlushIsTheLastOne) {
  FirstFailure failure;
  EXPECT_THROW(failure.guard([] { throw os_error(ENOSPC, "disk"); }), Error);
  bool is_called = false;
  EXPECT_THROW(failure.guard([&] { is_called = true; }), Error);
  EXPECT_FALSE(is_called);
}

TEST(FirstFailure, TheFirstOfSeveralIsKept) {
  FirstFailure failure;
  failure.note(os_error(ENOSPC, "disk"));
  failure.note(os_error(EIO, "disk"));
  ASSERT_TRUE(failure.get());
  EXPECT_EQ(failure.get()->code(), std::errc::no_space_on_device);
}

}  // namespace
}  // namespace qcowkit
