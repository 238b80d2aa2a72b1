// qcow convert --salvage, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class Salvage : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "4M");
    given_writes("a.qcow2", {"write -P 5 0 2M"});
  }
  /// a.qcow2 as a file of which these sectors cannot be read.
  static std::string damaged(const std::vector<int>& sectors) {
    std::string list =
        "driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.qcow2";
    for (std::size_t i = 0; i < sectors.size(); ++i) {
      const std::string rule = ",file.inject-error." + std::to_string(i) + ".";
      list += rule + "event=none" + rule + "iotype=read" + rule +
              "sector=" + std::to_string(sectors[i]);
    }
    return list;
  }
};

TEST_F(Salvage, WhatCannotBeReadBecomesZeroesWithAWarning) {
  for (const Words& options : {Words{}, Words{"-q"}, Words{"-m", "1"}, Words{"-W"}}) {
    Words words = {"convert", "--salvage", "--image-opts"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {damaged({1000, 1001, 3000}), "-O", "raw", "out"});
    expect_same_success(words);
    EXPECT_TRUE(read_file("ours/out") == read_file("reference/out"));
  }
}

TEST_F(Salvage, TargetMayBeAnImage) {
  expect_same_success(
      {"convert", "--salvage", "--image-opts", damaged({1000}), "-O", "qcow2", "out"});
  expect_same_content("out");
}

TEST_F(Salvage, WithoutItTheFirstErrorEndsTheCopy) {
  const auto [reference, ours] =
      run_both({"convert", "--image-opts", damaged({1000}), "-O", "raw", "out"});
  EXPECT_EQ(ours.exit_code, 1);
  EXPECT_EQ(ours.exit_code, reference.exit_code);
}

TEST_F(Salvage, DoesNotGoWithCopyOffloading) {
  expect_same_failure({"convert", "--salvage", "-C", "a.qcow2", "out"});
}

}  // namespace
}  // namespace qcowkit::test
