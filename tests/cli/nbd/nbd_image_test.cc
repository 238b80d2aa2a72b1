// Images on NBD servers, for every command.
#include <regex>

#include "tests/cli/nbd/server.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class NbdImage : public NbdProgram {
 protected:
  void serve_with_nbdkit(const std::string& size) {
    if (!have_command("nbdkit")) GTEST_SKIP() << "nbdkit is not installed";
    start({"nbdkit", "--foreground", "--unix", socket(), "memory", size});
  }
  CommandResult qcow(Words words) const {
    words.insert(words.begin(), test::tool());
    return run(words);
  }
  void expect_done(const Words& words) const {
    const CommandResult result = qcow(words);
    EXPECT_TRUE(result.ok()) << words[0] << ": " << result.out << result.err;
  }
  /// The reference's words, with its name replaced by the tool's.
  void expect_same_as_reference(Words words) const {
    words.insert(words.begin(), "qemu-img");
    CommandResult reference = run(words);
    words[0] = test::tool();
    const CommandResult ours = run(words);
    reference.err = std::regex_replace(reference.err, std::regex("qemu-img:"), "qcow:");
    EXPECT_EQ(ours.out, reference.out) << words.back();
    EXPECT_EQ(ours.err, reference.err) << words.back();
    EXPECT_EQ(ours.exit_code, reference.exit_code) << words.back();
  }
  /// The JSON form, which has a key more than the reference's.
  void expect_same_map(const std::string& options) const {
    const Words words = {"map", "--output=json", "--image-opts", options};
    CommandResult reference = run({"qemu-img", words[0], words[1], words[2], words[3]});
    CommandResult ours = qcow(words);
    ours.out = std::regex_replace(ours.out, std::regex(", \"compressed\": false"), "");
    reference.err = std::regex_replace(reference.err, std::regex("qemu-img:"), "qcow:");
    EXPECT_EQ(ours.out, reference.out) << options;
    EXPECT_EQ(ours.err, reference.err) << options;
    EXPECT_EQ(ours.exit_code, reference.exit_code) << options;
  }
};

TEST_F(NbdImage, DisksAreCopiedFromAndToServers) {
  serve_with_nbdkit("8M");
  make_image("a.qcow2", "8M");
  write_pattern("a.qcow2", {"write -P 7 1M 300k", "write -P 9 7M 1M"});
  expect_done({"convert", "-n", "-O", "raw", file("a.qcow2"), uri()});
  expect_ok({"qemu-img", "compare", "-F", "raw", file("a.qcow2"), uri()});
  expect_done({"convert", "-f", "raw", "-O", "qcow2", uri(), file("b.qcow2")});
  expect_ok({"qemu-img", "compare", file("a.qcow2"), file("b.qcow2")});
  expect_done({"compare", "-F", "raw", file("b.qcow2"), uri()});
}

TEST_F(NbdImage, Qcow2ImagesLieOnServers) {
  serve_with_nbdkit("16M");
  expect_done({"create", "-q", "-f", "qcow2", uri(), "8M"});
  expect_done({"io", "-c", "write -P 5 1M 100k", "-c", "write -z 1M 4k", uri()});
  expect_done({"check", "-q", uri()});
  expect_done({"snapshot", "-c", "then", uri()});
  expect_done({"resize", "-q", uri(), "+1M"});
  expect_ok({"qemu-io", "-r", "-f", "qcow2", "-c", "read -P 5 1028k 96k", "-c", "read -P 0 1M 4k",
             uri()});
  const CommandResult check = run({"qemu-img", "check", uri()});
  EXPECT_TRUE(check.ok()) << check.out << check.err;
}

TEST_F(NbdImage, TheyMayBeBackingFiles) {
  make_image("base.qcow2", "4M");
  write_pattern("base.qcow2", {"write -P 3 0 4M"});
  serve({"-t", "-r", "-e", "0", "-f", "qcow2", file("base.qcow2")});
  expect_ok(
      {"qemu-img", "create", "-q", "-f", "qcow2", "-b", uri(), "-F", "raw", file("overlay.qcow2")});
  expect_done({"io", "-c", "write -P 4 1M 64k", "-c", "read -P 3 0 1M", file("overlay.qcow2")});
  expect_same_as_reference({"info", "-U", "--backing-chain", file("overlay.qcow2")});
}

TEST_F(NbdImage, WhatIsToldOfThemIsTheSame) {
  serve_with_nbdkit("8M");
  const std::string path = "server.type=unix,server.path=" + socket();
  for (const std::string& name : {uri(), "nbd:unix:" + socket()}) {
    expect_same_as_reference({"info", name});
    expect_same_as_reference({"map", "-f", "raw", name});
  }
  for (const std::string& options :
       {"driver=nbd," + path, "driver=nbd,path=" + socket(), "driver=nbd," + path + ",foo=bar",
        "driver=nbd,path=" + socket() + ",tls-creds=none"}) {
    expect_same_as_reference({"info", "--image-opts", options});
  }
}

TEST_F(NbdImage, DirtyBitmapsAreMappedAsTheReferenceDoes) {
  make_image("a.qcow2", "4M");
  expect_ok({"qemu-img", "bitmap", "--add", "-g", "64k", file("a.qcow2"), "b0"});
  write_pattern("a.qcow2", {"write -P 1 0 1M", "write -P 2 2M 100k"});
  expect_ok({"qemu-img", "bitmap", "--disable", file("a.qcow2"), "b0"});
  write_pattern("a.qcow2", {"write -P 3 3M 64k"});
  const std::string path = "server.type=unix,server.path=" + socket();
  for (const Words& server : {Words{test::tool(), "nbd"}, Words{"qemu-nbd"}}) {
    Words words = server;
    words.insert(words.end(), {"-t", "-r", "-e", "0", "-k", socket(), "-f", "qcow2", "-A", "-B",
                               "b0", file("a.qcow2")});
    start(words);
    for (const std::string context :
         {"qemu:dirty-bitmap:b0", "qemu:allocation-depth", "base:allocation",
          "qemu:dirty-bitmap:none", "qemu:dirty-bitmap:", "foo:bar", "foo", ""}) {
      const std::string options = ",x-dirty-bitmap=" + context;
      expect_same_as_reference({"map", "--image-opts", "driver=nbd," + path + options});
      expect_same_map("driver=nbd," + path + options);
      expect_same_map("driver=raw,offset=64k,size=2M,file.driver=nbd,file.path=" + socket() +
                      ",file.x-dirty-bitmap=" + context);
    }
    // What is dirty is read all the same.
    expect_done({"convert", "-O", "raw", "--image-opts",
                 "driver=nbd," + path + ",x-dirty-bitmap=qemu:dirty-bitmap:b0", file("b.raw")});
    expect_ok({"qemu-img", "compare", file("a.qcow2"), file("b.raw")});
  }
}

TEST_F(NbdImage, HolesThatAreNoZeroesAreMappedAndReadAsTheReferenceDoes) {
  if (!have_command("nbdkit")) GTEST_SKIP() << "nbdkit is not installed";
  start({"nbdkit", "--foreground", "--unix", socket(), "eval", "get_size=echo 4M",
         "pread=head -c $3 /dev/zero | tr '\\0' Q", "can_extents=exit 0",
         "extents=echo 0 1M hole; echo 1M 1M zero; echo 2M 1M hole,zero; echo 3M 1M"});
  expect_same_as_reference({"map", "--image-opts", "driver=nbd,path=" + socket()});
  expect_same_map("driver=nbd,path=" + socket());
  for (const std::string& program : {std::string("qemu-img"), test::tool()}) {
    const std::string copy = file(program == "qemu-img" ? "reference.raw" : "ours.raw");
    expect_ok(
        {program, "convert", "-O", "raw", "--image-opts", "driver=nbd,path=" + socket(), copy});
  }
  expect_ok({"cmp", file("reference.raw"), file("ours.raw")});
}

TEST_F(NbdImage, NamesThatMakeNoSenseAreRefusedAlike) {
  for (const std::string& name :
       Words{"nbd:", "nbd:foo", "nbd:host:", "nbd://", "nbd://h:x/e", "nbd+unix:///x",
             "nbd+foo://x/", "nbd+unix:///?socket=/nonexistent",
             "nbd:unix:/nonexistent:exportname=x", "nbd://127.0.0.1:1/x"}) {
    expect_same_as_reference({"info", name});
  }
  for (const std::string& options :
       Words{"driver=nbd", "driver=nbd,host=a,path=b", "driver=nbd,server.type=foo",
             "driver=nbd,server.type=unix", "driver=nbd,server.type=inet,server.host=a",
             "driver=nbd,server.type=inet,server.port=1"}) {
    expect_same_as_reference({"info", "--image-opts", options});
  }
}

}  // namespace
}  // namespace qcowkit::test
