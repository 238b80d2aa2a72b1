// Libraries that are loaded when they are first used.
#include "base/shared_library.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace qcowkit::test {
namespace {

TEST(SharedLibrary, FindsFunctionsByName) {
  const SharedLibrary library("libc.so.6", "this test");
  std::size_t (*length_of)(const char*) = nullptr;
  library.find("strlen", length_of);
  EXPECT_EQ(length_of("four"), 4u);
}

TEST(SharedLibrary, WhatIsNotThereIsNamed) {
  const Error no_library = error_of([] { SharedLibrary("libnosuch.so.7", "Flying"); });
  EXPECT_EQ(no_library.code(), Errc::unsupported);
  EXPECT_TRUE(mentions(no_library, {"Flying", "libnosuch.so.7"}));

  const SharedLibrary library("libc.so.6", "this test");
  void (*function)() = nullptr;
  const Error no_function = error_of([&] { library.find("no_such_function", function); });
  EXPECT_TRUE(mentions(no_function, {"libc.so.6", "no_such_function"}));
}

}  // namespace
}  // namespace qcowkit::test
