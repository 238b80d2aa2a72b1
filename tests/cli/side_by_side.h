// Runs the tool and the reference on files of their own that start out the same.
#pragma once

#include <regex>

#include "tests/cli/conformance.h"
#include "tests/support/tool.h"

namespace qcowkit::test {

/// Each program works in a directory of its own, so that file names are the same for both and what
/// they change can be compared afterwards.
class SideBySide : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    std::filesystem::create_directory(file("reference"));
    std::filesystem::create_directory(file("ours"));
  }

  /// Lets the reference make a file that both then have a copy of.
  void given(const std::string& name, const Words& commands_arguments) const {
    Words words = {"qemu-img"};
    words.insert(words.end(), commands_arguments.begin(), commands_arguments.end());
    const CommandResult result = run_in("reference", words);
    ASSERT_TRUE(result.ok()) << joined(words) << result.err;
    share(name);
  }
  void given_image(const std::string& name, const std::string& size, Words options = {}) const {
    options.insert(options.begin(), {"create", "-q", "-f", "qcow2"});
    options.insert(options.end(), {name, size});
    given(name, options);
  }
  /// Lets the reference change the file: "write -P 7 0 64k" and so on.
  void given_writes(const std::string& name, const Words& commands) const {
    qemu_io("reference/" + name, commands);
    share(name);
  }
  void given_file(const std::string& name, std::string_view content) const {
    write_file("reference/" + name, content);
    share(name);
  }

  /// Both say the same, word for word but for their names, on both streams, and end with the same
  /// code. Returns what the tool did.
  CommandResult expect_same_words(const Words& arguments) const {
    const auto [reference, ours] = run_both(arguments);
    EXPECT_EQ(without_newer_keys(ours.out, reference.out), reference.out) << joined(arguments);
    EXPECT_EQ(ours.err, reference.err) << joined(arguments);
    EXPECT_EQ(ours.exit_code, reference.exit_code) << joined(arguments) << ours.err;
    return ours;
  }
  /// The same, but what goes to standard error may be said in other words.
  CommandResult expect_same_outcome(const Words& arguments) const {
    const auto [reference, ours] = run_both(arguments);
    EXPECT_EQ(without_newer_keys(ours.out, reference.out), reference.out) << joined(arguments);
    EXPECT_EQ(ours.exit_code, reference.exit_code) << joined(arguments) << ours.err;
    EXPECT_EQ(ours.err.empty(), reference.err.empty())
        << joined(arguments) << ours.err << reference.err;
    return ours;
  }
  void expect_same_failure(const Words& arguments) const {
    EXPECT_NE(expect_same_words(arguments).exit_code, 0) << joined(arguments);
  }
  void expect_same_success(const Words& arguments) const {
    EXPECT_EQ(expect_same_words(arguments).exit_code, 0) << joined(arguments);
  }

  /// The reference finds the same in both: what it tells of them, and no damage.
  void expect_same_image(const std::string& name) const {
    const auto describe = [&](const std::string& directory) {
      return without_disk_size(run_in(directory, {"qemu-img", "info", name}).out);
    };
    EXPECT_EQ(undated(describe("ours")), undated(describe("reference")));
    Words words = {"qemu-img", "check", name};
    const std::string text = describe("ours");
    // Backing files need not be there.
    if (text.find("file format: qcow2") != text.npos && text.find("backing file:") != text.npos) {
      words[2] = R"(json:{"driver":"qcow2","backing":null,"file.filename":")" + name + "\"}";
    }
    const CommandResult check = run_in("ours", words);
    constexpr int kNothingToCheck = 63;
    EXPECT_TRUE(check.ok() || check.exit_code == kNothingToCheck) << check.out << check.err;
  }
  /// And they hold the same disk.
  void expect_same_content(const std::string& name) const {
    const CommandResult result =
        run({"qemu-img", "compare", "-s", file("ours/" + name), file("reference/" + name)});
    EXPECT_TRUE(result.ok() || result.out.find("block status") != std::string::npos)
        << result.out << result.err;
  }

  CommandResult run_in(const std::string& directory, const Words& words) const {
    Words shell = {"sh", "-c", "cd \"$0\" && exec \"$@\"", file(directory)};
    shell.insert(shell.end(), words.begin(), words.end());
    return run(shell);
  }

  struct Pair {
    CommandResult reference;
    CommandResult ours;
  };
  /// The reference's words, with its name and its call for help replaced by the tool's; dates
  /// replaced in both.
  Pair run_both(const Words& arguments) const {
    Words words = {"qemu-img"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    CommandResult reference = run_in("reference", words);
    // It measures the time that a passphrase takes, and fails where that is too short to measure.
    for (int tries = 0; tries < 50 && reference.err.find("CPU usage") != std::string::npos;
         ++tries) {
      reference = run_in("reference", words);
    }
    words[0] = test::tool();
    CommandResult ours = run_in("ours", words);
    reference.out = undated(reference.out);
    ours.out = undated(ours.out);
    replace(reference.err, "qemu-img --help", "qcow " + arguments[0] + " --help");
    replace(reference.err, "qemu-img", "qcow");
    return {std::move(reference), std::move(ours)};
  }

 private:
  /// Both are written anew, so that both occupy the same space.
  void share(const std::string& name) const {
    const std::string bytes = read_file("reference/" + name);
    write_file("reference/" + name, bytes);
    write_file("ours/" + name, bytes);
  }

  static std::string undated(const std::string& text) {
    static const std::regex kDate("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}");
    return std::regex_replace(text, kDate, "DATE");
  }
  /// How much of the metadata is written or left as holes is up to each program.
  static std::string without_disk_size(std::string text) {
    const std::size_t begin = text.find("disk size:");
    if (begin != text.npos) text.erase(begin, text.find('\n', begin) - begin);
    return text;
  }
  static void replace(std::string& text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
  }
};

}  // namespace qcowkit::test
