// qcow resize, side by side with the reference.
#include "tests/cli/side_by_side.h"

namespace qcowkit::test {
namespace {

class Resize : public SideBySide {
 protected:
  /// Both do it and have the same image afterwards.
  void expect_resized(Words arguments, const std::string& name) const {
    arguments.insert(arguments.begin(), "resize");
    expect_same_success(arguments);
    expect_same_image(name);
    expect_same_content(name);
  }
  void expect_refused(Words arguments) const {
    arguments.insert(arguments.begin(), "resize");
    expect_same_failure(arguments);
  }
};

TEST_F(Resize, Qcow2DisksGrowAndShrink) {
  given_image("a.qcow2", "10M");
  given_writes("a.qcow2", {"write -P 1 0 64k", "write -P 2 9M 1M"});
  for (const Words& words :
       {Words{"a.qcow2", "20M"}, Words{"a.qcow2", "+1M"}, Words{"--shrink", "a.qcow2", "-1M"},
        Words{"--shrink", "a.qcow2", "5M"}, Words{"a.qcow2", "5M"}, Words{"-q", "a.qcow2", "++512"},
        Words{"--shrink", "a.qcow2", "+1M"}, Words{"-f", "qcow2", "a.qcow2", "12.5M"},
        Words{"--image-opts", "driver=qcow2,file.filename=a.qcow2", "+3M"},
        Words{"--", "a.qcow2", "1G"}, Words{"a.qcow2", "0x80000000"},
        Words{"--shrink", "a.qcow2", "1k"}}) {
    expect_resized(words, "a.qcow2");
  }
}

TEST_F(Resize, NewSpaceIsPreallocatedAsAsked) {
  for (const std::string mode : {"off", "metadata", "falloc", "full"}) {
    given_image("a.qcow2", "1M");
    expect_resized({"--preallocation=" + mode, "a.qcow2", "+1M"}, "a.qcow2");
    const Words map = {"map", "--output=json", "--start-offset=1M", "a.qcow2"};
    const auto [reference, ours] = run_both(map);
    EXPECT_EQ(ours.out.find("\"data\": true") == ours.out.npos,
              reference.out.find("\"data\": true") == reference.out.npos)
        << mode << ours.out << reference.out;
  }
}

TEST_F(Resize, RawDisksGrowAndShrink) {
  given_file("a.raw", std::string(65536, 'x'));
  for (const Words& words :
       {Words{"-f", "raw", "a.raw", "2M"}, Words{"a.raw", "+1M"},
        Words{"-f", "raw", "--shrink", "a.raw", "1000"}, Words{"-f", "raw", "a.raw", "+1"},
        Words{"-f", "raw", "--preallocation=falloc", "a.raw", "1M"},
        Words{"-f", "raw", "--preallocation=full", "a.raw", "+100k"},
        Words{"-f", "raw", "--preallocation=off", "a.raw", "+100k"}}) {
    expect_resized(words, "a.raw");
    EXPECT_EQ(read_file("ours/a.raw"), read_file("reference/a.raw"));
  }
}

TEST_F(Resize, OverlaysGrowOverTheirBackingFile) {
  given_image("base.qcow2", "4M");
  given_writes("base.qcow2", {"write -P 7 0 4M"});
  given_image("a.qcow2", "1M", {"-b", "base.qcow2", "-F", "qcow2"});
  expect_resized({"a.qcow2", "3M"}, "a.qcow2");
  expect_resized({"--preallocation=full", "a.qcow2", "5M"}, "a.qcow2");
}

TEST_F(Resize, ExternalDataFileIsResizedToo) {
  given("data.raw", {"create", "-q", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on",
                     "a.qcow2", "1M"});
  given_file("a.qcow2", read_file("reference/a.qcow2"));
  expect_same_success({"resize", "a.qcow2", "2M"});
  expect_same_image("a.qcow2");
  EXPECT_EQ(read_file("ours/data.raw").size(), read_file("reference/data.raw").size());
}

TEST_F(Resize, ShrinkingNeedsItsOption) {
  given_image("a.qcow2", "10M");
  given_file("a.raw", std::string(65536, 'x'));
  expect_refused({"a.qcow2", "-1M"});
  expect_refused({"a.qcow2", "--", "-1M"});
  expect_refused({"a.qcow2", "4M"});
  expect_refused({"-f", "raw", "a.raw", "-512"});
  expect_same_image("a.qcow2");
}

TEST_F(Resize, SizesThatCannotBeAreRefused) {
  given_image("a.qcow2", "10M");
  for (const std::string size :
       {"1x", "", "+", "-", "+x", "+-1M", "0", "-100M", "-10M", "8E", "16E", "+8E", "1M ", "nan"}) {
    expect_refused({"--shrink", "a.qcow2", size});
  }
  for (const std::string size : {"+1000", "2000000", "7E", "9223372036854775807", "+7.99E"}) {
    const Words words = {"resize", "--shrink", "a.qcow2", size};
    EXPECT_EQ(expect_same_outcome(words).exit_code, 1) << size;
  }
  expect_same_image("a.qcow2");
}

TEST_F(Resize, PreallocationThatCannotBeIsRefused) {
  given_image("a.qcow2", "10M");
  given_file("a.raw", std::string(65536, 'x'));
  expect_refused({"--preallocation=nonsense", "a.qcow2", "+1M"});
  expect_refused({"--preallocation=full", "--shrink", "a.qcow2", "1M"});
  expect_refused({"--preallocation=full", "a.qcow2", "10M"});
  EXPECT_EQ(expect_same_outcome({"resize", "-f", "raw", "--preallocation=metadata", "a.raw", "+1M"})
                .exit_code,
            1);
}

TEST_F(Resize, BadArgumentsAreRefused) {
  given_image("a.qcow2", "10M");
  for (const Words& words :
       {Words{}, Words{"a.qcow2"}, Words{"a.qcow2", "1M", "extra"}, Words{"-q", "a.qcow2"},
        Words{"-f", "nonsense", "a.qcow2", "1M"}, Words{"none", "1M"},
        Words{"a.qcow2", "--nonsense", "1M"}, Words{"a.qcow2", "1M", "-q"},
        Words{"--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=a.qcow2", "1M"}}) {
    expect_refused(words);
  }
}

TEST_F(Resize, OldVersionWithSnapshotsIsRefused) {
  given_image("a.qcow2", "1M", {"-o", "compat=0.10"});
  given("a.qcow2", {"snapshot", "-c", "x", "a.qcow2"});
  EXPECT_EQ(expect_same_outcome({"resize", "a.qcow2", "2M"}).exit_code, 1);
}

}  // namespace
}  // namespace qcowkit::test
