// Breakpoints under their tags, and whom they have stopped.
#pragma once

#include <string>
#include <vector>

#include "qcowkit/image.h"

namespace qcowkit::cli::io {

/// What the commands know of an image's breakpoints: which were set, and which of the requests
/// that stopped at one the user has been told of.
class BreakpointTags {
 public:
  void add(const std::string& tag) { tags_.push_back({tag, false}); }
  void forget() { tags_.clear(); }
  /// One line for each request that has stopped since the last question, the latest breakpoint
  /// first.
  std::string newly_stopped(Image& image);
  /// The request that has stopped under this tag goes on.
  void let_go(const std::string& tag);
  /// Forgets the breakpoints of this tag that have stopped nobody; false: there are none.
  bool remove_waiting(const std::string& tag);

 private:
  struct Tag {
    std::string name;
    bool has_stopped;  ///< a request, and the user knows
  };
  std::vector<Tag> tags_;
};

}  // namespace qcowkit::cli::io
