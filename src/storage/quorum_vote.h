// Votes over contents and over errors.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit {

/// Which of several answers of one length is given most often. The answers belong to the caller
/// and are to stay where they are.
class QuorumVote {
 public:
  using Answer = std::span<const std::byte>;

  /// An answer and who gave it.
  struct Version {
    Answer content;
    std::vector<std::size_t> voters = {};
  };

  void add(std::size_t voter, Answer answer) {
    const auto same = std::ranges::find_if(versions_, [&](const Version& version) {
      return std::memcmp(version.content.data(), answer.data(), answer.size()) == 0;
    });
    Version& version = same != versions_.end() ? *same : versions_.emplace_back(Version{answer});
    version.voters.push_back(voter);
  }

  bool is_unanimous() const noexcept { return versions_.size() == 1; }
  /// At least one, in the order in which they were first given.
  const std::vector<Version>& versions() const noexcept { return versions_; }
  /// What has most votes; of several the one that came up last, as the reference decides.
  const Version& winner() const noexcept {
    const auto by_votes = [](const Version& version) { return version.voters.size(); };
    return *std::ranges::max_element(versions_.rbegin(), versions_.rend(), {}, by_votes);
  }

 private:
  std::vector<Version> versions_;
};

/// What went wrong with several attempts at the same.
class QuorumErrors {
 public:
  /// Runs `work`, keeping the error that it may throw; false if it did.
  template <typename Work>
  bool run(Work work) {
    try {
      work();
      return true;
    } catch (const Error& error) {
      errors_.push_back(error);
      return false;
    }
  }

  std::size_t count() const noexcept { return errors_.size(); }

  /// Throws the error that occurred most often; of several the first. There is at least one.
  [[noreturn]] void raise() const {
    const auto occurrences = [this](const Error& error) {
      return std::ranges::count(errors_, error.code(), [](const Error& e) { return e.code(); });
    };
    throw *std::ranges::max_element(errors_, {}, occurrences);
  }
  [[noreturn]] void raise_last() const { throw errors_.back(); }

 private:
  std::vector<Error> errors_;
};

}  // namespace qcowkit
