#include "export/nbd/errors.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>

#include "qcowkit/error.h"

namespace qcowkit::nbd {
namespace {

WireError of_errno(int value) { return wire_error({value, std::generic_category()}); }

TEST(WireErrorOf, ErrnoIsTheProtocolsCounterpart) {
  EXPECT_EQ(of_errno(EPERM), WireError::perm);
  EXPECT_EQ(of_errno(EROFS), WireError::perm);
  EXPECT_EQ(of_errno(EIO), WireError::io);
  EXPECT_EQ(of_errno(ENOMEM), WireError::nomem);
  EXPECT_EQ(of_errno(EINVAL), WireError::inval);
}

TEST(WireErrorOf, WhateverMeansThatSpaceIsShortIsNoSpace) {
  for (const int value : {ENOSPC, EDQUOT, EFBIG}) EXPECT_EQ(of_errno(value), WireError::nospc);
}

TEST(WireErrorOf, UnknownErrnoIsAnInputOutputError) {
  for (const int value : {ENOTSUP, EAGAIN, ETIMEDOUT, 9999}) {
    EXPECT_EQ(of_errno(value), WireError::io) << value;
  }
}

TEST(WireErrorOf, SystemCategoryCountsAsErrno) {
  EXPECT_EQ(wire_error({ENOSPC, std::system_category()}), WireError::nospc);
}

TEST(WireErrorOf, OwnErrorsAreNeverNone) {
  EXPECT_EQ(wire_error(Errc::read_only), WireError::perm);
  EXPECT_EQ(wire_error(Errc::invalid_argument), WireError::inval);
  for (int code = 1; code <= static_cast<int>(Errc::cancelled); ++code) {
    EXPECT_NE(wire_error({code, error_category()}), WireError::none) << code;
  }
}

TEST(DescribeError, EachHasWordsOfItsOwn) {
  std::set<std::string> words;
  for (const int value : {0, 1, 5, 12, 22, 28, 75, 95, 108}) {
    EXPECT_TRUE(words.insert(describe(static_cast<WireError>(value))).second) << value;
  }
  EXPECT_STREQ(describe(static_cast<WireError>(77)), "unknown error");
}

}  // namespace
}  // namespace qcowkit::nbd
