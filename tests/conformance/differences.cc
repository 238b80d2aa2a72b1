// The differences that are meant: what differences.txt lists.
#include "tests/conformance/differences.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "fmt/core.h"

namespace qcowkit::test {

namespace {

const std::set<std::string> kKinds = {"stdout", "stderr", "exit", "image", "files"};

struct Line {
  std::vector<std::string> words;
  std::string reason;
};

/// "WORD WORD...: reason".
Line parse_line(const std::string& text) {
  const std::size_t colon = text.find(": ");
  if (colon == text.npos || colon + 2 == text.size()) {
    throw std::runtime_error("a line says why, behind a colon");
  }
  Line line;
  line.reason = text.substr(colon + 2);
  std::istringstream words(text.substr(0, colon));
  for (std::string word; words >> word;) line.words.push_back(word);
  return line;
}

std::set<Difference> parse_difference(const Line& line) {
  const std::size_t step = std::stoul(line.words.at(0));
  std::set<Difference> differences;
  for (std::size_t i = 1; i < line.words.size(); ++i) {
    if (!kKinds.contains(line.words[i])) {
      throw std::runtime_error(fmt::format("nothing differs in its '{}'", line.words[i]));
    }
    differences.emplace(step, line.words[i]);
  }
  if (differences.empty()) throw std::runtime_error("it does not say what differs");
  return differences;
}

}  // namespace

Differences::Differences(const std::filesystem::path& path) {
  std::ifstream stream(path);
  if (!stream) throw std::runtime_error(fmt::format("cannot read {}", path.string()));
  int number = 0;
  for (std::string text; std::getline(stream, text);) {
    ++number;
    if (text.empty() || text[0] == '#' || text.starts_with("    ")) continue;
    try {
      if (text.starts_with("== ")) {
        const std::size_t colon = text.find(": ");
        if (colon == text.npos) throw std::runtime_error("a scenario is named 'file: title'");
        entries_.push_back({text.substr(3, colon - 3), text.substr(colon + 2), number, {}});
        continue;
      }
      const Line line = parse_line(text);
      if (line.words.at(0) == "json") {
        additional_keys_[line.words.at(1)].insert(line.words.begin() + 2, line.words.end());
      } else if (entries_.empty()) {
        throw std::runtime_error("it belongs to no scenario");
      } else {
        entries_.back().differences.merge(parse_difference(line));
      }
    } catch (const std::exception& e) {
      throw std::runtime_error(fmt::format("{}:{}: {}", path.string(), number, e.what()));
    }
  }
}

std::set<Difference> Differences::of(const std::string& subject, const std::string& title) const {
  std::set<Difference> result;
  for (const Entry& entry : entries_) {
    if (entry.subject == subject && entry.title == title) {
      result.insert(entry.differences.begin(), entry.differences.end());
    }
  }
  return result;
}

std::set<std::string> Differences::additional_keys(const std::string& command) const {
  const auto found = additional_keys_.find(command);
  return found == additional_keys_.end() ? std::set<std::string>{} : found->second;
}

}  // namespace qcowkit::test
