// Tests of cut_into_units: which whole units a chunk's pieces make.
#include "jobs/copy_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace qcowkit {

void PrintTo(const UnitSpan& span, std::ostream* out) {
  *out << "[" << span.begin << ", " << span.end << ") " << static_cast<int>(span.content);
}

namespace {

constexpr Content kCopy = Content::copy;
constexpr Content kZero = Content::zero;
constexpr Content kSkip = Content::skip;
constexpr std::uint64_t kUnit = 4;

std::vector<UnitSpan> cut(std::vector<UnitSpan> contents) {
  std::vector<CopyPiece> pieces;
  for (const UnitSpan& c : contents) {
    pieces.push_back({.begin = c.begin, .end = c.end, .content = c.content});
  }
  std::vector<UnitSpan> spans;
  cut_into_units(pieces, kUnit, spans);
  return spans;
}

using Spans = std::vector<UnitSpan>;

TEST(CutIntoUnits, NothingMakesNoSpan) { EXPECT_EQ(cut({}), Spans{}); }

TEST(CutIntoUnits, WholeUnitsKeepTheirContent) {
  EXPECT_EQ(cut({{8, 12, kCopy}, {12, 20, kZero}, {20, 24, kSkip}}),
            (Spans{{8, 12, kCopy}, {12, 20, kZero}, {20, 24, kSkip}}));
}

TEST(CutIntoUnits, NeighboursOfOneContentAreOneSpan) {
  EXPECT_EQ(cut({{0, 2, kZero}, {2, 8, kZero}, {8, 9, kCopy}, {9, 12, kCopy}}),
            (Spans{{0, 8, kZero}, {8, 12, kCopy}}));
}

TEST(CutIntoUnits, DataInsideUnitTakesTheUnit) {
  EXPECT_EQ(cut({{0, 5, kZero}, {5, 6, kCopy}, {6, 16, kZero}}),
            (Spans{{0, 4, kZero}, {4, 8, kCopy}, {8, 16, kZero}}));
}

TEST(CutIntoUnits, UnitOfZeroesAndSkippedBytesIsCopied) {
  EXPECT_EQ(cut({{0, 6, kZero}, {6, 12, kSkip}}),
            (Spans{{0, 4, kZero}, {4, 8, kCopy}, {8, 12, kSkip}}));
  EXPECT_EQ(cut({{0, 1, kZero}, {1, 2, kSkip}, {2, 3, kZero}}), (Spans{{0, 3, kCopy}}));
}

TEST(CutIntoUnits, LastUnitMayBeShort) {
  EXPECT_EQ(cut({{0, 4, kCopy}, {4, 7, kZero}}), (Spans{{0, 4, kCopy}, {4, 7, kZero}}));
  EXPECT_EQ(cut({{0, 5, kZero}, {5, 7, kCopy}}), (Spans{{0, 4, kZero}, {4, 7, kCopy}}));
  EXPECT_EQ(cut({{0, 5, kCopy}, {5, 7, kZero}}), (Spans{{0, 7, kCopy}}));
}

// The definition, byte by byte: a unit that has one content keeps it, any other is copied.
TEST(CutIntoUnits, RandomPiecesAreCutAsDefined) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    const std::uint64_t begin = random() % 4 * kUnit;
    std::vector<Content> bytes;
    Spans contents;
    for (std::uint64_t pieces = 1 + random() % 8; pieces > 0; --pieces) {
      const std::uint64_t length = 1 + random() % 9;
      const auto content = static_cast<Content>(random() % 3);
      const std::uint64_t at = begin + bytes.size();
      contents.push_back({at, at + length, content});
      bytes.insert(bytes.end(), length, content);
    }
    Spans expected;
    for (std::size_t unit = 0; unit < bytes.size(); unit += kUnit) {
      const std::size_t end = std::min<std::size_t>(unit + kUnit, bytes.size());
      Content content = bytes[unit];
      for (std::size_t i = unit; i < end; ++i) {
        if (bytes[i] != content) content = kCopy;
      }
      if (!expected.empty() && expected.back().content == content) {
        expected.back().end = begin + end;
      } else {
        expected.push_back({begin + unit, begin + end, content});
      }
    }
    ASSERT_EQ(cut(contents), expected);
  }
}

}  // namespace
}  // namespace qcowkit
