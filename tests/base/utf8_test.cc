// Tests of base/utf8.h.
#include "base/utf8.h"

#include <gtest/gtest.h>

#include <vector>

namespace qcowkit {
namespace {

std::vector<std::optional<char32_t>> characters(std::string_view text) {
  std::vector<std::optional<char32_t>> all;
  while (!text.empty()) all.push_back(take_utf8(text));
  return all;
}
using Characters = std::vector<std::optional<char32_t>>;

TEST(Utf8, CharactersOfEveryLengthAreTaken) {
  EXPECT_EQ(characters("a\u00e9\u20ac\U0001f4bf"), (Characters{U'a', 0xe9, 0x20ac, 0x1f4bf}));
  EXPECT_EQ(characters("\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"),
            (Characters{0x80, 0x7ff, 0x800, 0xffff, 0x10000, 0x10ffff}));
}

TEST(Utf8, WhatIsNoCharacterIsTakenAsNone) {
  const std::optional<char32_t> none;
  EXPECT_EQ(characters("\x80z"), (Characters{none, U'z'}));  // begins nothing
  EXPECT_EQ(characters("\xff"), (Characters{none}));
  EXPECT_EQ(characters("\xe2\x82z"), (Characters{none, U'z'}));  // does not go on
  EXPECT_EQ(characters("\xc3"), (Characters{none}));             // ends too early
  EXPECT_EQ(characters("\xc0\x80"), (Characters{none, none}));   // longer than need be
  EXPECT_EQ(characters("\xe0\x80\x80"), (Characters{none}));
  EXPECT_EQ(characters("\xed\xa0\x80"), (Characters{none}));      // half of a pair
  EXPECT_EQ(characters("\xf4\x90\x80\x80"), (Characters{none}));  // beyond the last
}

TEST(Utf8, PrintableTextStaysAsItIs) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("disk 1 (\u00e9\u20ac\U0001f4bf).qcow2"),
            "disk 1 (\u00e9\u20ac\U0001f4bf).qcow2");
}

TEST(Utf8, WhatATerminalWouldActUponIsSpeltOut) {
  EXPECT_EQ(printable("a\033[31mb\n\x7f"), "a\\x1b[31mb\\x0a\\x7f");
  EXPECT_EQ(printable("\u009b2J"), "\\xc2\\x9b2J");           // the same as ESC [ to some terminals
  EXPECT_EQ(printable("x\u202egpj"), "x\\xe2\\x80\\xaegpj");  // turns what follows around
  EXPECT_EQ(printable("\xff\x80"), "\\xff\\x80");
}

}  // namespace
}  // namespace qcowkit
