// --untrusted: whatever a stranger's image names, no command opens it.
#include <cstdlib>
#include <functional>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

/// Names that the reference refuses to create images with are written by -u, which looks at
/// nothing.
class Untrusted : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (IsSkipped()) return;
    write_file("secret", std::string(64 << 10, 's'));
    create_naming(file("secret"));
  }

  void create_naming(const std::string& backing) const {
    const CommandResult made = qcow({"create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F",
                                     "raw", file("stranger.qcow2"), "64k"});
    ASSERT_TRUE(made.ok()) << made.err;
  }
  void expect_refused(const Words& arguments) const {
    const std::string before = read_file("stranger.qcow2");
    const std::string secret = read_file("secret");
    Words words = {"--untrusted"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const CommandResult result = qcow(words);
    EXPECT_NE(result.exit_code, 0) << joined(arguments) << result.out;
    EXPECT_NE(result.err.find("may not be opened"), std::string::npos)
        << joined(arguments) << result.err;
    EXPECT_TRUE(read_file("stranger.qcow2") == before) << joined(arguments);
    EXPECT_TRUE(read_file("secret") == secret) << joined(arguments);
  }

  const std::string stranger_ = file("stranger.qcow2");
};

TEST_F(Untrusted, NoCommandOpensABackingFile) {
  const std::string out = file("out");
  for (const Words& arguments : std::vector<Words>{
           {"bench", "-c", "1", stranger_},
           {"commit", stranger_},
           {"compare", stranger_, stranger_},
           {"convert", "-O", "raw", stranger_, out},
           {"dd", "if=" + stranger_, "of=" + out},
           {"draw", stranger_},
           {"info", "--backing-chain", stranger_},
           {"io", "-r", "-c", "read 0 64k", stranger_},
           {"io", "-c", "write 0 512", stranger_},
           {"map", stranger_},
           {"measure", "-O", "qcow2", stranger_},
           {"nbd", "-r", "-k", file("socket"), stranger_},
           {"amend", "-o", "compat=0.10", stranger_},
           {"check", stranger_},
           {"check", "-r", "all", stranger_},
           {"rebase", "-b", "", stranger_},
           {"resize", stranger_, "+64k"},
           {"snapshot", "-c", "name", stranger_},
       }) {
    expect_refused(arguments);
  }
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Untrusted, NoCommandOpensWhatIsNamedByAProtocolOrByJson) {
  for (const std::string& name :
       {"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"" + file("secret") +
            "\"}}",
        "file:" + file("secret"), std::string("nbd://127.0.0.1:1/"),
        "blkdebug::" + file("secret")}) {
    create_naming(name);
    expect_refused({"convert", "-O", "raw", stranger_, file("out")});
    expect_refused({"info", "--backing-chain", stranger_});
  }
}

TEST_F(Untrusted, NoCommandOpensAnExternalDataFile) {
  const CommandResult made =
      qcow({"create", "-q", "-f", "qcow2", "-o", "data_file=" + file("secret"), stranger_, "64k"});
  ASSERT_TRUE(made.ok()) << made.err;
  write_file("secret", std::string(64 << 10, 's'));
  expect_refused({"convert", "-O", "raw", stranger_, file("out")});
  expect_refused({"map", stranger_});
  expect_refused({"resize", stranger_, "+64k"});
  expect_refused({"io", "-c", "write 0 512", stranger_});
  EXPECT_TRUE(qcow({"--untrusted", "info", stranger_}).ok()) << "opens nothing but the image";
}

TEST_F(Untrusted, WhatLooksAtTheImageAloneWorks) {
  for (const Words& arguments :
       std::vector<Words>{{"--untrusted", "info", stranger_},
                          {"--untrusted", "rebase", "-u", "-b", "", stranger_},
                          {"--untrusted", "map", stranger_}}) {
    const CommandResult result = qcow(arguments);
    EXPECT_TRUE(result.ok()) << joined(arguments) << result.err;
  }
}

TEST_F(Untrusted, ImagesThatNameNothingAreWorkedOn) {
  ASSERT_TRUE(qcow({"create", "-q", "-f", "qcow2", stranger_, "64k"}).ok());
  for (const Words& arguments :
       std::vector<Words>{{"--untrusted", "info", "--backing-chain", stranger_},
                          {"--untrusted", "check", stranger_},
                          {"--untrusted", "convert", "-O", "raw", stranger_, file("out")},
                          {"--untrusted", "nbd", "--help"}}) {
    const CommandResult result = qcow(arguments);
    EXPECT_TRUE(result.ok()) << joined(arguments) << result.err;
  }
}

TEST_F(Untrusted, WhatTheCommandLineNamesIsOpened) {
  const std::string options = "driver=qcow2,file.filename=" + stranger_ +
                              ",backing.driver=raw,backing.file.filename=" + file("secret");
  const CommandResult result =
      qcow({"--untrusted", "convert", "-O", "raw", "--image-opts", options, file("out")});
  EXPECT_TRUE(result.ok()) << result.err;
  EXPECT_TRUE(read_file("out") == read_file("secret"));
  const CommandResult none =
      qcow({"--untrusted", "convert", "-O", "raw", "--image-opts",
            "driver=qcow2,backing=,file.filename=" + stranger_, file("out")});
  EXPECT_TRUE(none.ok()) << none.err;
  EXPECT_TRUE(read_file("out") == std::string(64 << 10, '\0'));
}

TEST_F(Untrusted, TheEnvironmentAsksForItToo) {
  const Words convert = {
      "env", "QCOWKIT_UNTRUSTED=1", test::tool(), "convert", "-O", "raw", stranger_, file("out")};
  const CommandResult refused = run(convert);
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.err.find("may not be opened"), std::string::npos) << refused.err;
  for (const std::string value : {"QCOWKIT_UNTRUSTED=0", "QCOWKIT_UNTRUSTED="}) {
    Words trusting = convert;
    trusting[1] = value;
    const CommandResult result = run(trusting);
    EXPECT_TRUE(result.ok()) << value << result.err;
  }
}

TEST_F(Untrusted, WithoutItReferencesAreFollowedAsTheReferenceFollowsThem) {
  expect_same({"map", "--output=json", stranger_});
}

}  // namespace
}  // namespace qcowkit::test
