// Runs the tool and the reference side by side.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/comparison.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tool.h"

namespace qcowkit::test {

using Words = std::vector<std::string>;

inline std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += word + ' ';
  return text;
}

/// Runs the tool with these arguments.
inline CommandResult qcow(Words arguments, std::string_view input = {}) {
  arguments.insert(arguments.begin(), test::tool());
  return run(arguments, input);
}

/// `ours` without the keys of JSON that only newer releases of the reference have.
inline std::string without_newer_keys(const std::string& ours, const std::string& reference) {
  return comparable(ours, reference,
                    {"children", "compressed", "detached-header", "format-specific", "limits"});
}

/// A test in a temporary directory of its own, with the reference at hand.
class Conformance : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!have_command("qemu-img") || !have_command("qemu-io")) {
      GTEST_SKIP() << "the reference is not installed";
    }
  }

  std::string file(const std::string& name) const { return directory_.file(name); }

  /// Runs the reference for its effect.
  void qemu_img(Words arguments) const {
    arguments.insert(arguments.begin(), "qemu-img");
    const CommandResult result = run(arguments);
    ASSERT_TRUE(result.ok()) << joined(arguments) << result.err;
  }
  void create(const std::string& name, const std::string& size, Words options = {}) const {
    Words words = {"create", "-q", "-f", "qcow2"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {file(name), size});
    qemu_img(words);
  }
  /// Lets the reference change an image: "write -P 7 0 64k" and so on.
  void qemu_io(const std::string& name, const Words& commands) const {
    Words words = {"qemu-io", "-t", "unsafe"};
    for (const std::string& command : commands) words.insert(words.end(), {"-c", command});
    words.push_back(file(name));
    const CommandResult result = run(words);
    ASSERT_TRUE(result.ok()) << joined(words) << result.out << result.err;
  }
  /// Overwrites bytes of a file.
  void patch(const std::string& name, std::streamoff offset, std::string_view bytes) const {
    std::fstream stream(file(name), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(offset);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(stream.good()) << name;
  }
  /// Makes a raw file.
  void write_file(const std::string& name, std::string_view content) const {
    std::ofstream stream(file(name), std::ios::binary);
    stream << content;
    ASSERT_TRUE(stream.good()) << name;
  }
  std::string read_file(const std::string& name) const {
    std::ifstream stream(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  /// Both programs print the same to standard output and end with the same code.
  void expect_same(const Words& arguments) const {
    Words reference_words = arguments;
    reference_words.insert(reference_words.begin(), "qemu-img");
    const CommandResult reference = run(reference_words);
    const CommandResult ours = qcow(arguments);
    EXPECT_EQ(without_newer_keys(ours.out, reference.out), reference.out) << joined(arguments);
    EXPECT_EQ(ours.exit_code, reference.exit_code) << joined(arguments) << "\n"
                                                   << ours.err << reference.err;
    // Who fails says why, and who does not is silent.
    EXPECT_EQ(ours.err.empty(), reference.err.empty()) << joined(arguments) << "\n"
                                                       << ours.err << reference.err;
  }

  const TempDir directory_;
};

}  // namespace qcowkit::test
