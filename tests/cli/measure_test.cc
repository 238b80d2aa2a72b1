// qcow measure, side by side with the reference.
#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

class Measure : public Conformance {
 protected:
  void expect_same_measure(Words arguments) const {
    arguments.insert(arguments.begin(), "measure");
    expect_same(arguments);
    arguments.push_back("--output=json");
    expect_same(arguments);
  }
};

TEST_F(Measure, EmptyImagesMatch) {
  for (const std::string size : {"0", "1000", "1M", "1G", "1T"}) {
    expect_same_measure({"--size", size});
    expect_same_measure({"--size=" + size, "-O", "raw"});
    for (const std::string list :
         {"cluster_size=64k", "cluster_size=4k", "cluster_size=2M", "preallocation=metadata",
          "preallocation=falloc", "preallocation=full", "extended_l2=on,refcount_bits=64",
          "compat=0.10", "refcount_bits=1", "lazy_refcounts=on", "size=2G"}) {
      expect_same_measure({"--size", size, "-O", "qcow2", "-o", list});
    }
  }
  expect_same_measure({"--size", "1G", "-O", "raw", "-o", "preallocation=full"});
}

TEST_F(Measure, SourcesMatch) {
  create("a.qcow2", "4M");
  qemu_io("a.qcow2", {"write 0 128k", "write 1M 64k", "write -z 2M 64k", "write -c 3M 64k"});
  create("top.qcow2", "5M", {"-b", "a.qcow2", "-F", "qcow2"});
  qemu_io("top.qcow2", {"write 64k 1k", "write 4M 64k"});
  create("subclusters.qcow2", "4M", {"-o", "extended_l2=on"});
  qemu_io("subclusters.qcow2", {"write 4k 4k", "write 70k 2k"});
  create("bitmaps.qcow2", "10M");
  qemu_img({"bitmap", "--add", file("bitmaps.qcow2"), "b0"});
  qemu_img({"bitmap", "--add", "-g", "64k", file("bitmaps.qcow2"), "b1"});
  create("v2.qcow2", "4M", {"-o", "compat=0.10"});
  write_file("a.raw", std::string(100000, 'x'));
  for (const std::string name :
       {"a.qcow2", "top.qcow2", "subclusters.qcow2", "bitmaps.qcow2", "v2.qcow2", "a.raw"}) {
    expect_same_measure({file(name)});
    expect_same_measure({"-O", "qcow2", file(name)});
    expect_same_measure({"-O", "qcow2", "-o", "cluster_size=4k", file(name)});
    expect_same_measure({"-O", "qcow2", "-o", "compat=0.10", file(name)});
    expect_same_measure({"-O", "qcow2", "-f", "raw", "-U", file(name)});
  }
  expect_same_measure(
      {"-O", "qcow2", "--image-opts", "driver=qcow2,file.filename=" + file("a.qcow2")});
}

TEST_F(Measure, BadArgumentsAreRefused) {
  create("a.qcow2", "4M");
  const std::string path = file("a.qcow2");
  for (const Words& arguments :
       std::vector<Words>{{},
                          {"-O", "qcow2", "-o", "size=2G"},
                          {"--size", "1G", path},
                          {"--size", "1x"},
                          {"--size", "-1"},
                          {"--size", "8E"},
                          {"--size", "7E", "-O", "qcow2"},
                          {"--size", "1G", "-O", "nonsense"},
                          {"--size", "1G", "-O", "qcow2", "-o", "foo=1"},
                          {"--size", "1G", "-O", "qcow2", "-o", "cluster_size=3"},
                          {"--size", "1G", "-O", "qcow2", "-o", "lazy_refcounts=zz"},
                          {"--size", "1G", "-O", "raw", "-o", "cluster_size=64k"},
                          {"--size", "1G", "-f", "qcow2"},
                          {"--size", "1G", "--image-opts"},
                          {"--size", "1G", "-l", "x"},
                          {"-l", "missing", path},
                          {path, path},
                          {file("missing")},
                          {"--output=xml", "--size", "1G"}}) {
    Words words = {"measure"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(qcow(words).exit_code, 1) << joined(words);
    expect_same(words);
  }
}

}  // namespace
}  // namespace qcowkit::test
