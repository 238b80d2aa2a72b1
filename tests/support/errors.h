// What tests expect of errors.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qcowkit/error.h"

namespace qcowkit::test {

/// The error that `work` throws; a failure if it throws none.
template <typename Work>
Error error_of(Work work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return {Errc::cancelled, ""};
}

/// The message has all these words.
inline testing::AssertionResult mentions(const Error& error,
                                         const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (error.message().find(word) == std::string::npos) {
      return testing::AssertionFailure()
             << "\"" << error.message() << "\" lacks \"" << word << "\"";
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace qcowkit::test
