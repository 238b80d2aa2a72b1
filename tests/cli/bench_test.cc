// qcow bench, side by side with the reference.
#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

class Bench : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    given_image("a.qcow2", "16M");
    given_file("a.raw", std::string(1 << 20, 'x'));
  }
  /// The same words but for the time.
  void expect_same_run(Words words) const {
    words.insert(words.begin(), "bench");
    auto [reference, ours] = run_both(words);
    EXPECT_EQ(untimed(ours.out), untimed(reference.out)) << joined(words);
    EXPECT_EQ(ours.err, reference.err) << joined(words);
    EXPECT_EQ(ours.exit_code, reference.exit_code) << joined(words);
  }
  static std::string untimed(const std::string& text) {
    static const std::regex kTime("completed in [0-9]+\\.[0-9]{3} seconds");
    return std::regex_replace(text, kTime, "completed");
  }
};

TEST_F(Bench, RequestsAreMadeAsAskedFor) {
  for (const Words& words :
       {Words{"-c", "10"},
        Words{"-c", "10", "-d", "1"},
        Words{},
        Words{"-c", "10", "-d", "1", "-s", "8192", "-S", "16k", "-o", "4096"},
        Words{"-c", "10", "-w"},
        Words{"-c", "10", "-w", "--pattern", "5"},
        Words{"-c", "10", "-w", "--pattern", "0xff"},
        Words{"-c", "10", "--pattern", "5"},
        Words{"-c", "50", "-w", "--flush-interval", "20", "-d", "5"},
        Words{"-c", "50", "-w", "--flush-interval", "20", "-d", "5", "--no-drain"},
        Words{"-c", "10", "-w", "--no-drain"},
        Words{"-c", "10", "-q"},
        Words{"-c", "0"},
        Words{"-c", "0x10"},
        Words{"-c", "10", "-s", "0"},
        Words{"-c", "10", "-S", "0"},
        Words{"-c", "10", "-i", "threads"},
        Words{"-c", "10", "-t", "none", "-n"},
        Words{"-c", "10", "-t", "none", "-i", "native"},
        Words{"-c", "10", "-U"},
        Words{"-c", "10", "-s", "1", "-S", "1", "-d", "3"},
        Words{"-c", "9", "-f", "qcow2"},
        Words{"-c", "6000", "-d", "3"},
        Words{"-c", "10", "-t", "writethrough", "-w"}}) {
    Words all = words;
    all.emplace_back("a.qcow2");
    expect_same_run(all);
  }
  expect_same_run({"-c", "10", "--image-opts", "driver=qcow2,file.filename=a.qcow2"});
}

TEST_F(Bench, WrittenImagesAreTheSame) {
  expect_same_run({"-c", "300", "-w", "--pattern", "7", "-s", "5000", "-S", "100000", "-o", "1000",
                   "-d", "1", "-t", "unsafe", "a.qcow2"});
  expect_same_content("a.qcow2");
  expect_same_run({"-c", "40", "-w", "--pattern", "7", "-f", "raw", "-d", "3", "a.raw"});
  expect_same_content("a.raw");
  expect_same_run({"-c", "1", "-w", "a.raw"});
  expect_same_content("a.raw");
}

TEST_F(Bench, RequestBeyondTheEndFails) {
  expect_same_run({"-s", "17M", "-c", "1", "a.qcow2"});
  expect_same_run({"-o", "17M", "-c", "3", "a.qcow2"});
  expect_same_run({"-w", "-o", "17M", "-c", "3", "a.qcow2"});
}

TEST_F(Bench, BadArgumentsAreRefused) {
  for (const Words& words :
       {Words{},
        Words{"a.qcow2", "b"},
        Words{"-c", "-1", "a.qcow2"},
        Words{"-c", "x", "a.qcow2"},
        Words{"-c", "5k", "a.qcow2"},
        Words{"-c", "", "a.qcow2"},
        Words{"-c", "2147483648", "a.qcow2"},
        Words{"-d", "x", "a.qcow2"},
        Words{"-d", "-1", "a.qcow2"},
        Words{"-s", "x", "a.qcow2"},
        Words{"-s", "2G", "a.qcow2"},
        Words{"-S", "x", "a.qcow2"},
        Words{"-S", "3G", "a.qcow2"},
        Words{"-o", "x", "a.qcow2"},
        Words{"-o", "-1", "a.qcow2"},
        Words{"-o", "8E", "a.qcow2"},
        Words{"--pattern", "300", "a.qcow2"},
        Words{"--pattern", "x", "a.qcow2"},
        Words{"--flush-interval", "x", "a.qcow2"},
        Words{"--flush-interval", "-1", "a.qcow2"},
        Words{"--flush-interval", "100", "a.qcow2"},
        Words{"-w", "--flush-interval", "2", "a.qcow2"},
        Words{"-w", "--flush-interval", "2", "--no-drain", "-d", "5", "a.qcow2"},
        Words{"--flush-interval", "2"},
        Words{"-i", "nonsense", "a.qcow2"},
        Words{"-i", "native", "a.qcow2"},
        Words{"-n", "a.qcow2"},
        Words{"-t", "nonsense", "a.qcow2"},
        Words{"-t", "nonsense"},
        Words{"-f", "nonsense", "a.qcow2"},
        Words{"-U", "-w", "a.qcow2"},
        Words{"none"},
        Words{"--object", "secret,id=x", "a.qcow2"},
        Words{"--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=a.qcow2"}}) {
    expect_same_run(words);
  }
}

TEST_F(Bench, QueueWithoutDepthIsRefused) {
  // The reference never ends.
  const CommandResult result = run_in("ours", {test::tool(), "bench", "-d", "0", "a.qcow2"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err, "qcow: Invalid queue depth specified\n");
}

}  // namespace
}  // namespace qcowkit::test
