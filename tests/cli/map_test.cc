// qcow map, side by side with the reference.
#include <nlohmann/json.hpp>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Map : public Conformance {
 protected:
  void expect_same_map(Words arguments) const {
    arguments.insert(arguments.begin(), "map");
    expect_same(arguments);
    arguments.push_back("--output=json");
    expect_same(arguments);
  }
  void expect_same_map(const std::string& name) const { expect_same_map(Words{file(name)}); }

  /// Where a subcluster that was never written would lie, only the reference tells.
  void expect_same_but_for_absent_offsets(const std::string& name) const {
    expect_same({"map", file(name)});
    const Words words = {"map", "--output=json", file(name)};
    const CommandResult reference = run({"qemu-img", "map", "--output=json", file(name)});
    EXPECT_EQ(without_absent_offsets(qcow(words).out), without_absent_offsets(reference.out));
  }

  /// base.qcow2 with data, zeroes and compressed clusters; top.qcow2 above it is larger.
  void create_chain() const {
    create("base.qcow2", "4M");
    qemu_io("base.qcow2", {"write 0 128k", "write 1M 64k", "write -z 1280k 64k",
                           "write -z -u 1408k 64k", "write -c 2M 64k", "write -c 2112k 64k"});
    create("top.qcow2", "5M", {"-b", "base.qcow2", "-F", "qcow2"});
    qemu_io("top.qcow2", {"write 64k 64k", "write 1088k 64k", "write 3M 64k", "write -z 0 64k"});
  }

 private:
  static nlohmann::json without_absent_offsets(const std::string& text) {
    nlohmann::json result = nlohmann::json::array();
    for (nlohmann::json entry : nlohmann::json::parse(text)) {
      entry.erase("compressed");  // newer than the reference here
      if (entry["present"] == false) entry.erase("offset");
      if (!result.empty() && entry["present"] == false && result.back()["present"] == false &&
          result.back()["depth"] == entry["depth"]) {
        result.back()["length"] =
            result.back()["length"].get<std::uint64_t>() + entry["length"].get<std::uint64_t>();
      } else {
        result.push_back(entry);
      }
    }
    return result;
  }
};

TEST_F(Map, ChainWithAllKindsOfClustersMatches) {
  create_chain();
  expect_same_map("base.qcow2");
  expect_same_map("top.qcow2");
}

TEST_F(Map, ChainOfThreeDecreasingSizesMatches) {
  create("a.qcow2", "1M");
  qemu_io("a.qcow2", {"write 0 64k", "write 896k 128k"});
  create("b.qcow2", "2M", {"-b", "a.qcow2", "-F", "qcow2"});
  qemu_io("b.qcow2", {"write 64k 64k", "write 1984k 64k"});
  create("c.qcow2", "3M", {"-b", "b.qcow2", "-F", "qcow2"});
  qemu_io("c.qcow2", {"write 128k 64k"});
  expect_same_map("c.qcow2");
  create("d.qcow2", "512k", {"-b", "c.qcow2", "-F", "qcow2"});
  expect_same_map("d.qcow2");
}

TEST_F(Map, PreallocatedClustersMatch) {
  for (const std::string mode : {"metadata", "falloc", "full"}) {
    create("a.qcow2", "4M", {"-o", "preallocation=" + mode});
    expect_same_map("a.qcow2");
    qemu_io("a.qcow2", {"write 128k 64k", "write -z 1M 64k", "write 3M 100k"});
    expect_same_map("a.qcow2");
  }
}

TEST_F(Map, PreallocatedBackingFileMatches) {
  create("base.qcow2", "4M", {"-o", "preallocation=metadata"});
  qemu_io("base.qcow2", {"write 128k 64k"});
  create("top.qcow2", "4M", {"-b", "base.qcow2", "-F", "qcow2"});
  qemu_io("top.qcow2", {"write 1M 64k"});
  expect_same_map("top.qcow2");
}

TEST_F(Map, SubclustersMatch) {
  create("a.qcow2", "1M", {"-o", "extended_l2=on"});
  qemu_io("a.qcow2", {"write 4k 4k", "write -z 12k 4k", "write 128k 64k", "write -z 256k 64k"});
  expect_same_but_for_absent_offsets("a.qcow2");
  create("b.qcow2", "1M", {"-o", "extended_l2=on", "-b", "a.qcow2", "-F", "qcow2"});
  qemu_io("b.qcow2", {"write 8k 2k", "write 132k 4k"});
  expect_same_but_for_absent_offsets("b.qcow2");
}

TEST_F(Map, RawImagesMatch) {
  write_file("holes.raw", "");
  std::filesystem::resize_file(file("holes.raw"), 1 << 20);
  patch("holes.raw", 256 * 1024, "x");
  expect_same_map("holes.raw");
  create("top.qcow2", "2M", {"-b", "holes.raw", "-F", "raw"});
  qemu_io("top.qcow2", {"write 64k 64k"});
  expect_same_map("top.qcow2");
  write_file("odd.raw", std::string(995, 'x'));
  expect_same_map("odd.raw");
  write_file("hole.raw", "");
  std::filesystem::resize_file(file("hole.raw"), 1000);
  expect_same_map("hole.raw");
  create_chain();
  expect_same_map(Words{"-f", "raw", file("top.qcow2")});
}

TEST_F(Map, ExternalDataFilesMatch) {
  create("a.qcow2", "1M", {"-o", "data_file=" + file("a.raw")});
  qemu_io("a.qcow2", {"write 0 64k", "write -z 128k 64k"});
  expect_same_map("a.qcow2");
  create("b.qcow2", "1M", {"-o", "data_file_raw=on,data_file=" + file("b.raw")});
  qemu_io("b.qcow2", {"write 64k 64k"});
  expect_same_map("b.qcow2");
}

TEST_F(Map, EmptyAndHugeImagesAreOneEntry) {
  for (const std::string size : {"0", "1000", "1T"}) {
    create("a.qcow2", size);
    expect_same_map("a.qcow2");
  }
  create("written.qcow2", "1000");
  qemu_io("written.qcow2", {"write 0 512"});
  expect_same_map("written.qcow2");
  write_file("a.raw", "");
  expect_same_map("a.raw");
}

TEST_F(Map, RangesMatch) {
  create_chain();
  const std::string path = file("top.qcow2");
  expect_same_map(Words{"--start-offset=100k", "--max-length=1M", path});
  expect_same_map(Words{"--start-offset=1000", "--max-length=1000", path});
  expect_same_map(Words{"-s", "1M", "-l", "256k", path});
  expect_same_map(Words{"--start-offset=4M", path});
  expect_same_map(Words{"--start-offset=5M", path});
  expect_same_map(Words{"--start-offset=6M", path});
  expect_same_map(Words{"--max-length=0", path});
  expect_same_map(Words{"--max-length=100M", path});
  expect_same_map(Words{"-U", path});
  expect_same_map(Words{"--image-opts", "driver=qcow2,file.filename=" + path});
}

TEST_F(Map, BadArgumentsAreRefused) {
  create_chain();
  const std::string path = file("top.qcow2");
  for (const Words& arguments : {Words{}, Words{path, path}, Words{file("none")}, Words{"-q", path},
                                 Words{"--start-offset=-1", path}, Words{"--start-offset=x", path},
                                 Words{"--start-offset=9E", path}, Words{"--max-length=16E", path},
                                 Words{"--max-length=x", path}, Words{"--output=xml", path}}) {
    Words words = {"map"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(qcow(words).exit_code, 1) << joined(words);
    expect_same(words);
  }
}

TEST_F(Map, ManyExtentsMatch) {
  create("a.qcow2", "64M", {"-o", "cluster_size=4k"});
  Words commands;
  for (int i = 0; i < 300; ++i) {
    commands.push_back("write " + std::to_string((i * 7919 % 4096) * 16) + "k 4k");
  }
  qemu_io("a.qcow2", commands);
  expect_same_map("a.qcow2");
}

}  // namespace
}  // namespace qcowkit::test
