// The differences that are meant: what differences.txt lists.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace qcowkit::test {

/// What differs after one step of a scenario: "stdout", "stderr", "exit", "image" or "files".
using Difference = std::pair<std::size_t, std::string>;

class Differences {
 public:
  /// Throws `std::runtime_error`, with file and line, for what is not in the language.
  explicit Differences(const std::filesystem::path& path);

  /// What is listed for a scenario; steps count from 1.
  std::set<Difference> of(const std::string& subject, const std::string& title) const;
  /// The keys that the command's JSON output may have beyond the reference's.
  std::set<std::string> additional_keys(const std::string& command) const;

  /// A scenario that is listed.
  struct Entry {
    std::string subject;
    std::string title;
    int line = 0;  ///< in the list
    std::set<Difference> differences;
  };
  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;
  std::map<std::string, std::set<std::string>> additional_keys_;
};

}  // namespace qcowkit::test
