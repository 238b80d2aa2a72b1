// Where the two programs work: a directory for each, which start out the same.
#pragma once

#include <string>

#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

enum class Side { reference, ours };

class Workplace {
 public:
  Workplace();

  /// Lets the shell run a line with the reference's programs; throws `std::runtime_error` where it
  /// fails. What is made so is there for both.
  void prepare(const std::string& line) const;
  /// Gives both sides what has been prepared. Both copies take the same space.
  void share() const;

  /// Lets the shell run a line in the side's directory, with its programs.
  CommandResult run(Side side, const std::string& line, const std::string& input = {}) const;
  /// The path of a file in the side's directory.
  std::string file(Side side, const std::string& name) const;
  /// The names of the files in the side's directory.
  std::string listing(Side side) const;

 private:
  CommandResult run_in(const std::string& folder, const std::string& programs,
                       const std::string& line, const std::string& input) const;

  std::string listing_of(const std::string& folder) const;

  TempDir directory_;
};

}  // namespace qcowkit::test
