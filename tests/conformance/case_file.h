// Case files: what both programs are made to do, in the language that README.md explains.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace qcowkit::test {

/// One line of a scenario that does something, with the standard input that follows it.
struct Step {
  enum class Kind {
    given,    ///< made once, by the reference
    command,  ///< run by both
    image,    ///< both compared
  };
  Kind kind;
  std::string text;   ///< what follows the line's first word
  std::string input;  ///< standard input
  int line = 0;       ///< in the case file
};

struct Scenario {
  std::filesystem::path file;
  std::string title;
  int line = 0;
  std::vector<Step> steps;

  /// The case file's name without its ending: that of the command that it is about.
  std::string subject() const { return file.stem().string(); }
};

/// Where case files and the list of differences lie.
std::filesystem::path conformance_folder();

/// Throws `std::runtime_error`, with file and line, for what is not in the language.
std::vector<Scenario> read_case_file(const std::filesystem::path& path);

/// All case files, by name.
std::vector<std::filesystem::path> case_files();

}  // namespace qcowkit::test
