// Runs the I/O program and the reference's on files of their own that start out the same.
#pragma once

#include <regex>

#include "tests/cli/side_by_side.h"
#include "tests/support/tool.h"

namespace qcowkit::test {

/// The tool is called by the reference's name, so that nothing but times differs.
class IoSideBySide : public SideBySide {
 protected:
  void SetUp() override {
    SideBySide::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directory(file("bin"));
    std::filesystem::create_symlink(test::tool(), file("bin/qemu-io"));
  }

  /// Both say the same on both streams and end with the same code. Returns what the tool did.
  CommandResult expect_same_io(const Words& arguments, const std::string& input = {}) const {
    const CommandResult reference = run_io("reference", "qemu-io", arguments, input);
    const CommandResult ours = run_io("ours", file("bin/qemu-io"), arguments, input);
    const std::string what = joined(arguments) + "\n" + input;
    EXPECT_EQ(ours.out, reference.out) << what;
    EXPECT_EQ(ours.err, reference.err) << what;
    EXPECT_EQ(ours.exit_code, reference.exit_code) << what;
    return ours;
  }

  /// The same for commands of -c, on `image` if that is not empty.
  CommandResult expect_same_commands(const Words& commands, const std::string& image,
                                     const Words& options = {}) const {
    Words words = options;
    for (const std::string& command : commands) words.insert(words.end(), {"-c", command});
    if (!image.empty()) words.push_back(image);
    return expect_same_io(words);
  }

  /// The same for `command` before each of `arguments`, in one run; with `between` in between.
  void expect_same_for_all(const std::string& command, const Words& arguments,
                           const std::string& image, const std::string& between = "") const {
    Words commands;
    for (const std::string& each : arguments) {
      commands.push_back(command + " " + each);
      if (!between.empty()) commands.push_back(between);
    }
    expect_same_commands(commands, image);
  }

  /// How long things take is up to the machine.
  static std::string without_times(std::string text) {
    static const std::regex kForPeople("ops; [0-9:.]+( sec)? \\([^)]*\\)");
    static const std::regex kForMachines(
        "([0-9]+,1),[0-9]:[0-9]{2}:[0-9]{2}\\.[0-9]{2},[0-9]+\\.[0-9]{3},[0-9]+\\.[0-9]{3}");
    text = std::regex_replace(text, kForPeople, "ops; TIME");
    return std::regex_replace(text, kForMachines, "$1,TIME");
  }

 private:
  CommandResult run_io(const std::string& directory, const std::string& program,
                       const Words& arguments, const std::string& input) const {
    Words shell = {"sh", "-c", "cd \"$0\" && exec \"$@\"", file(directory), program};
    shell.insert(shell.end(), arguments.begin(), arguments.end());
    CommandResult result = run(shell, input);
    result.out = without_times(std::move(result.out));
    return result;
  }
};

}  // namespace qcowkit::test
