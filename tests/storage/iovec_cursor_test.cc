// Walking through lists of buffers.
#include "storage/iovec_cursor.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace qcowkit {
namespace {

class IovecCursorTest : public testing::Test {
 protected:
  std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
  }
  std::string first_ = "abc";
  std::string second_ = "defgh";
  std::array<iovec, 4> list_{{{nullptr, 0},
                              {first_.data(), first_.size()},
                              {nullptr, 0},
                              {second_.data(), second_.size()}}};
};

TEST_F(IovecCursorTest, EmptyListHasNothing) {
  const IovecCursor cursor({});
  EXPECT_EQ(cursor.remaining(), 0U);
  std::array<iovec, 2> into;
  EXPECT_TRUE(cursor.peek(into).empty());
}

TEST_F(IovecCursorTest, CopiesOutAcrossBuffers) {
  IovecCursor cursor(list_);
  EXPECT_EQ(cursor.remaining(), 8U);
  cursor.skip(2);
  std::string out(4, '?');
  cursor.copy_out(std::as_writable_bytes(std::span(out.data(), out.size())));
  EXPECT_EQ(out, "cdef");
  EXPECT_EQ(cursor.remaining(), 2U);
}

TEST_F(IovecCursorTest, CopiesInAndZeroesAcrossBuffers) {
  IovecCursor cursor(list_);
  cursor.skip(1);
  cursor.copy_in(bytes("1234"));
  cursor.fill_zero(2);
  EXPECT_EQ(first_, "a12");
  EXPECT_EQ(second_, std::string("34\0\0h", 5));
  EXPECT_EQ(cursor.remaining(), 1U);
}

TEST_F(IovecCursorTest, PeekListsWhatIsNotEmptyFromHereOn) {
  IovecCursor cursor(list_);
  std::array<iovec, 3> into;
  EXPECT_EQ(cursor.peek(into).size(), 2U);
  cursor.skip(3);
  const auto rest = cursor.peek(into);
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].iov_base, second_.data());
  EXPECT_EQ(rest[0].iov_len, 5U);
  cursor.skip(5);
  EXPECT_TRUE(cursor.peek(into).empty());
}

}  // namespace
}  // namespace qcowkit
