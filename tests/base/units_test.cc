// Sizes as the reference (version 7.2) reads and prints them. The tables were recorded from its
// output.
#include "base/units.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace qcowkit {
namespace {

struct Spelling {
  std::string_view text;
  std::uint64_t bytes;
};

constexpr Spelling kSizes[] = {
    {"0", 0U},
    {"1", 1U},
    {"010", 10U},
    {"00", 0U},
    {"1b", 1U},
    {"1B", 1U},
    {"1k", 1024U},
    {"1K", 1024U},
    {"1M", 1048576U},
    {"1g", 1073741824U},
    {"1T", 1099511627776U},
    {"1p", 1125899906842624U},
    {"1E", 1152921504606846976U},
    {"15E", 17293822569102704640U},
    {"16383P", 18445618173802708992U},
    {"1.5G", 1610612736U},
    {"0.5k", 512U},
    {"5.", 5U},
    {"5.k", 5120U},
    {"1.k", 1024U},
    {"1.0", 1U},
    {"1.0B", 1U},
    {"0.0b", 0U},
    {"01.5k", 1536U},
    {"1.5E", 1729382256910270464U},
    {"0.001k", 1U},
    {"0.0004k", 0U},
    {"0.0005k", 1U},
    {"0.9k", 922U},
    {"1.1k", 1126U},
    {"1.00195k", 1026U},
    {"0.00146484375k", 2U},
    {"0.00244140625k", 3U},
    {"3.3T", 3628388371661U},
    {"4.4P", 4953959590107546U},
    {"0.3E", 345876451382054080U},
    {"7.9999999E", 9223371921562625408U},
    {"17592186044415.9M", 18446744073709446758U},
    {"1.2345678G", 1325607081U},
    {"2.675G", 2872259379U},
    {"1.9999999999999999k", 2048U},
    {"1.999999999999999999999k", 1024U},
    {"0.99999999999999999", 0U},
    {"1.00000000000000000000001", 1U},
    {"0.0000000000000000000001k", 0U},
    {"1.00000000000000000006k", 1024U},
    {"0x10", 16U},
    {"0X1f", 31U},
    {"0x1b", 27U},
    {"0x1e", 30U},
    {"0x1eE", 494U},
    {"0x1bb", 443U},
    {"0x10k", 16384U},
    {"0xaG", 10737418240U},
    {"0x1P", 1125899906842624U},
    {"+1k", 1024U},
    {"+0x10", 16U},
    {" 1k", 1024U},
    {" +1", 1U},
    {"18446744073709551615", 18446744073709551615U},
    {"18446744073709551615b", 18446744073709551615U},
    {"0xffffffffffffffff", 18446744073709551615U},
    {"00000000000000000000000000000001k", 1024U},
    {"\t1", 1U},
    {"\n\v\f\r1", 1U},
};

constexpr std::string_view kNoSizes[] = {"",
                                         "+",
                                         "-",
                                         "-0",
                                         "-1",
                                         "-1k",
                                         "-0x0",
                                         "k",
                                         ".",
                                         ".k",
                                         ".5",
                                         ".5G",
                                         "1.5",
                                         "0.5",
                                         "1.5b",
                                         "1.000000001",
                                         "1.00000000000000000006",
                                         "0x",
                                         "0xg",
                                         "0xk",
                                         "0x1.8",
                                         "0x1.",
                                         "0x.8",
                                         "0x-1",
                                         "0x 1",
                                         "00x10",
                                         "0x0x0",
                                         "0b1",
                                         "1e3",
                                         "1.5e1k",
                                         "1.5e+1",
                                         "1p3",
                                         "0x1p3",
                                         "1kb",
                                         "1KiB",
                                         "1.5Pb",
                                         "1k ",
                                         "1 k",
                                         "1. 5k",
                                         "1.+5k",
                                         "1..k",
                                         "1.5.k",
                                         "1,5G",
                                         "+-1",
                                         "++1",
                                         "- 1",
                                         " -1",
                                         "+ 1",
                                         "1x",
                                         "1z",
                                         "inf",
                                         "nan",
                                         "infinity",
                                         "1.infk",
                                         "99999999999999999999k",
                                         "99999999999999999999.",
                                         "18446744073709551616b"};

constexpr std::string_view kTooLarge[] = {"18446744073709551616",
                                          "99999999999999999999",
                                          "0x10000000000000000",
                                          "16E",
                                          "16384P",
                                          "17592186044416M",
                                          "17592186044415.9999999M",
                                          "99E"};

struct Printed {
  std::uint64_t bytes;
  const char* text;
};

constexpr Printed kPrinted[] = {
    {0U, "0 B"},
    {512U, "512 B"},
    {1024U, "1 KiB"},
    {5120U, "5 KiB"},
    {10752U, "10.5 KiB"},
    {18944U, "18.5 KiB"},
    {52736U, "51.5 KiB"},
    {90112U, "88 KiB"},
    {109568U, "107 KiB"},
    {154624U, "151 KiB"},
    {454656U, "444 KiB"},
    {856576U, "836 KiB"},
    {1023488U, "1e+03 KiB"},
    {1052672U, "1 MiB"},
    {1732096U, "1.65 MiB"},
    {2809856U, "2.68 MiB"},
    {6071296U, "5.79 MiB"},
    {10481152U, "10 MiB"},
    {13621248U, "13 MiB"},
    {31691264U, "30.2 MiB"},
    {58482688U, "55.8 MiB"},
    {104815616U, "100 MiB"},
    {107479040U, "102 MiB"},
    {345908224U, "330 MiB"},
    {569533952U, "543 MiB"},
    {1047527424U, "999 MiB"},
    {1048051712U, "1e+03 MiB"},
    {1048052224U, "1e+03 MiB"},
    {1048156160U, "1e+03 MiB"},
    {1048508416U, "1e+03 MiB"},
    {1048575488U, "1e+03 MiB"},
    {1073204736U, "0.999 GiB"},
    {1293384704U, "1.2 GiB"},
    {2520289792U, "2.35 GiB"},
    {5751459840U, "5.36 GiB"},
    {10791104512U, "10 GiB"},
    {20605954048U, "19.2 GiB"},
    {44476379648U, "41.4 GiB"},
    {90650787840U, "84.4 GiB"},
    {107911053312U, "100 GiB"},
    {179557558272U, "167 GiB"},
    {360387266048U, "336 GiB"},
    {645798809088U, "601 GiB"},
    {1073097578496U, "999 GiB"},
    {1073204953088U, "1e+03 GiB"},
    {1073204953600U, "1e+03 GiB"},
    {1073312327168U, "1e+03 GiB"},
    {1073673104384U, "1e+03 GiB"},
    {1073741823488U, "1e+03 GiB"},
    {1089077412352U, "0.991 TiB"},
    {1106865087488U, "1.01 TiB"},
    {1951115887104U, "1.77 TiB"},
    {2344444270080U, "2.13 TiB"},
    {4422867362816U, "4.02 TiB"},
    {10303541394432U, "9.37 TiB"},
    {13883795427840U, "12.6 TiB"},
    {28603773253632U, "26 TiB"},
    {37561927521280U, "34.2 TiB"},
    {109896187195904U, "99.9 TiB"},
    {111600430219264U, "102 TiB"},
    {518299369195008U, "471 TiB"},
    {832925911970304U, "758 TiB"},
    {1098961871962112U, "1e+03 TiB"},
    {1098961871962624U, "1e+03 TiB"},
    {1099071823124480U, "1e+03 TiB"},
    {1099441259031552U, "1e+03 TiB"},
    {1099511627775488U, "1e+03 TiB"},
    {1100004208985088U, "0.977 PiB"},
    {1132655306283520U, "1.01 PiB"},
    {2351919132524544U, "2.09 PiB"},
    {5828817411271680U, "5.18 PiB"},
    {11254495468798464U, "10 PiB"},
    {16687117876177408U, "14.8 PiB"},
    {23593098218904064U, "21 PiB"},
    {53347927694178816U, "47.4 PiB"},
    {112589990684262400U, "100 PiB"},
    {118142353162275840U, "105 PiB"},
    {252061266639507456U, "224 PiB"},
    {744504181115232256U, "661 PiB"},
    {1124774006935781376U, "999 PiB"},
    {1125336956889202688U, "1e+03 PiB"},
    {1125336956889203200U, "1e+03 PiB"},
    {1125449546879886848U, "1e+03 PiB"},
    {1125827849248585728U, "1e+03 PiB"},
    {1125899906842623488U, "1e+03 PiB"},
    {1151795604700004352U, "0.999 EiB"},
    {1648703112318650368U, "1.43 EiB"},
};

TEST(ParseSize, SpellingsOfTheReferenceMeanTheSame) {
  for (const auto& [text, bytes] : kSizes) EXPECT_EQ(parse_size(text), bytes) << '"' << text << '"';
}

TEST(ParseSize, WhatIsNoSizeIsRejectedAsSyntax) {
  for (const std::string_view text : kNoSizes) {
    SizeProblem problem = SizeProblem::out_of_range;
    EXPECT_EQ(parse_size(text, &problem), std::nullopt) << '"' << text << '"';
    EXPECT_EQ(problem, SizeProblem::syntax) << '"' << text << '"';
  }
}

TEST(ParseSize, TooLargeSizesAreRejectedAsOutOfRange) {
  for (const std::string_view text : kTooLarge) {
    SizeProblem problem = SizeProblem::syntax;
    EXPECT_EQ(parse_size(text, &problem), std::nullopt) << '"' << text << '"';
    EXPECT_EQ(problem, SizeProblem::out_of_range) << '"' << text << '"';
  }
}

TEST(ParseSize, EmbeddedNulIsNoSize) {
  using namespace std::string_view_literals;
  EXPECT_EQ(parse_size("1k\0"sv), std::nullopt);
  EXPECT_EQ(parse_size("1\0k"sv), std::nullopt);
}

TEST(HumanSize, PrintsAsTheReference) {
  for (const auto& [bytes, text] : kPrinted) EXPECT_EQ(human_size(bytes), text) << bytes;
}

TEST(HumanSize, LargestNumberPrints) { EXPECT_EQ(human_size(UINT64_MAX), "16 EiB"); }

}  // namespace
}  // namespace qcowkit
