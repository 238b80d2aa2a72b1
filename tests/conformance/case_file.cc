// Case files: what both programs are made to do, in the language that README.md explains.
#include "tests/conformance/case_file.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <stdexcept>

#include "fmt/core.h"

namespace qcowkit::test {

namespace {

/// Takes `word` and a blank off the front of `line`, if they are there.
bool take_word(std::string& line, std::string_view word) {
  if (line == word) {
    line.clear();
    return true;
  }
  if (!line.starts_with(word) || line[word.size()] != ' ') return false;
  line.erase(0, word.size() + 1);
  return true;
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path) {}

  std::vector<Scenario> read() {
    std::ifstream stream(path_);
    if (!stream) throw std::runtime_error(fmt::format("cannot read {}", path_.string()));
    for (std::string line; std::getline(stream, line);) {
      ++line_;
      if (!line.empty() && line[0] != '#') take(line);
    }
    return std::move(scenarios_);
  }

 private:
  void take(std::string line) {
    if (take_word(line, "==")) {
      if (!titles_.insert(line).second) fail("there is another scenario of this title");
      scenarios_.push_back({.file = path_, .title = line, .line = line_, .steps = {}});
    } else if (take_word(line, "given")) {
      add(Step::Kind::given, line);
    } else if (take_word(line, "$")) {
      add(Step::Kind::command, line);
    } else if (take_word(line, "image")) {
      add(Step::Kind::image, line);
    } else if (take_word(line, "<")) {
      if (steps().empty() || steps().back().kind != Step::Kind::command) {
        fail("input follows a command");
      }
      steps().back().input += line + "\n";
    } else {
      fail(fmt::format("'{}' is no line of a case file", line));
    }
  }

  void add(Step::Kind kind, const std::string& text) {
    const bool is_late = !steps().empty() && steps().back().kind != Step::Kind::given;
    if (kind == Step::Kind::given && is_late) fail("what is given comes first");
    steps().push_back({.kind = kind, .text = text, .input = {}, .line = line_});
  }

  std::vector<Step>& steps() {
    if (scenarios_.empty()) fail("a case file starts with a scenario's title");
    return scenarios_.back().steps;
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error(fmt::format("{}:{}: {}", path_.string(), line_, why));
  }

  const std::filesystem::path path_;
  int line_ = 0;
  std::vector<Scenario> scenarios_;
  std::set<std::string> titles_;
};

}  // namespace

std::filesystem::path conformance_folder() { return QCOWKIT_CONFORMANCE_FOLDER; }

std::vector<Scenario> read_case_file(const std::filesystem::path& path) {
  return Reader(path).read();
}

std::vector<std::filesystem::path> case_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(conformance_folder() / "cases")) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace qcowkit::test
