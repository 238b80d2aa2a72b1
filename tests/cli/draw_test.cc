// qcow draw: pictures of disks whose content is known.
#include <nlohmann/json.hpp>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

using Json = nlohmann::json;

class Draw : public Conformance {
 protected:
  /// base.qcow2 and top.qcow2 above it: 128 MiB, so that a character of the text is 64 KiB.
  void create_chain() const {
    create("base.qcow2", "128M");
    qemu_io("base.qcow2", {"write 0 1M", "write -c 2M 64k", "write -z 4M 1M"});
    create("top.qcow2", "128M", {"-b", "base.qcow2", "-F", "qcow2"});
    qemu_io("top.qcow2", {"write 512k 64k", "write 8M 64k", "write 9M 128k"});
  }
  std::string picture(const std::string& output, const std::string& name) const {
    const CommandResult result = qcow({"draw", "--output=" + output, file(name)});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  static std::string line(const std::string& text, const std::string& start) {
    const std::size_t begin = text.find("\n" + start);
    if (begin == text.npos) return "no line: " + start;
    return text.substr(begin + 1, text.find('\n', begin + 1) - begin - 1);
  }
};

TEST_F(Draw, TextHasACharacterForEachPartAndALegend) {
  create_chain();
  const std::string text = picture("human", "top.qcow2");
  EXPECT_EQ(line(text, "       0 B"),
            "       0 B  BBBBBBBBABBBBBBB................B...............................");
  EXPECT_EQ(line(text, "     4 MiB"),
            "     4 MiB  0000000000000000................................................");
  EXPECT_EQ(line(text, "     8 MiB"),
            "     8 MiB  A...............AA..............................................");
  EXPECT_EQ(line(text, "A "), "A 256 KiB in " + file("top.qcow2") + " (qcow2), 1 fragment");
  EXPECT_EQ(line(text, "B "),
            "B 960 KiB in " + file("base.qcow2") + " (qcow2), and 64 KiB compressed, 2 fragments");
  EXPECT_EQ(line(text, "0 "), "0 1 MiB known to be zeroes");
  EXPECT_EQ(line(text, ". "), ". 126 MiB never written");
}

TEST_F(Draw, PartsWithLittleDataAreLowerCase) {
  create("disk.qcow2", "1G");  // a character is 512 KiB
  qemu_io("disk.qcow2", {"write 0 64k", "write 512k 256k"});
  EXPECT_EQ(line(picture("human", "disk.qcow2"), "       0 B").substr(0, 16), "       0 B  aA..");
}

TEST_F(Draw, NoColoursOutsideOfATerminal) {
  create_chain();
  EXPECT_EQ(picture("human", "top.qcow2").find('\033'), std::string::npos);
}

// The cells are another way to sum up what map lists.
TEST_F(Draw, NumbersAgreeWithTheMap) {
  create_chain();
  const Json drawn = Json::parse(picture("json", "top.qcow2"));
  std::map<std::pair<int, std::string>, std::uint64_t> expected;
  for (const Json& entry : Json::parse(qcow({"map", "--output=json", file("top.qcow2")}).out)) {
    const bool has_data = entry["data"] && !entry["zero"];
    const std::string content = has_data           ? entry["compressed"] ? "compressed" : "data"
                                : entry["present"] ? "zero"
                                                   : "unallocated";
    expected[{has_data ? entry["depth"].get<int>() : -1, content}] +=
        entry["length"].get<std::uint64_t>();
  }
  std::map<std::pair<int, std::string>, std::uint64_t> found;
  for (const Json& cell : drawn["cells"]) {
    std::uint64_t cell_bytes = 0;
    for (const Json& share : cell) {
      found[{share.value("depth", -1), share["content"]}] += share["bytes"].get<std::uint64_t>();
      cell_bytes += share["bytes"].get<std::uint64_t>();
    }
    EXPECT_EQ(cell_bytes, drawn["cell-size"]);
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(drawn["layers"][1]["compressed"], 65536);
  EXPECT_EQ(drawn["virtual-size"], 128 << 20);
}

TEST_F(Draw, DisksOfEverySizeAreDrawn) {
  for (const std::string size : {"0", "512", "1000", "64k", "100M", "16T"}) {
    create("disk.qcow2", size);
    EXPECT_NE(picture("human", "disk.qcow2").find("never written"), std::string::npos) << size;
    EXPECT_NE(picture("svg", "disk.qcow2").find("</svg>"), std::string::npos) << size;
    std::filesystem::remove(file("disk.qcow2"));
  }
}

TEST_F(Draw, NamesOfStrangersAreHarmlessInPictures) {
  const std::string name = "a<b>&\"\033[31m.qcow2";
  create(name, "1M");
  EXPECT_EQ(picture("human", name).find('\033'), std::string::npos);
  const std::string svg = picture("svg", name);
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;&quot;\\x1b[31m.qcow2"), std::string::npos) << svg;
  EXPECT_EQ(svg.find('\033'), std::string::npos);
}

TEST_F(Draw, SvgHasAShapeForEachRunOfCellsAndForWhereTheyLie) {
  create_chain();
  const std::string svg = picture("svg", "top.qcow2");
  EXPECT_TRUE(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1072\""));
  EXPECT_NE(svg.find("<title>8 MiB to 8.06 MiB:\n64 KiB in " + file("top.qcow2") + "</title>"),
            std::string::npos)
      << svg;
  EXPECT_NE(svg.find("64 KiB compressed in " + file("base.qcow2")), std::string::npos);
}

TEST_F(Draw, WhatCannotBeDrawnIsToldOf) {
  const CommandResult unknown = qcow({"draw", "--output=png", file("disk.qcow2")});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_NE(unknown.err.find("human, svg or json, not 'png'"), std::string::npos) << unknown.err;
  const CommandResult missing = qcow({"draw", file("missing")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_NE(missing.err.find("No such file or directory"), std::string::npos) << missing.err;
  EXPECT_EQ(qcow({"draw"}).exit_code, 1);
}

}  // namespace
}  // namespace qcowkit::test
