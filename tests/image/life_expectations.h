// What a `LifeDisk` expects of calls: that they succeed, or that they fail in a certain way.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>

#include "qcowkit/error.h"

namespace qcowkit::test {

/// Thrown where the image does what it must not.
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const std::string& what) {
  if (!holds) throw Wrong(what);
}

/// `work` has to fail with this code.
template <typename Work>
void expect_refusal(Errc code, const char* what, Work work) {
  try {
    work();
  } catch (const Error& error) {
    require(error.code() == code, fmt::format("{}: refused with: {}", what, error.what()));
    return;
  }
  throw Wrong(fmt::format("{} was not refused", what));
}

/// Returns whether `work` succeeded; a limit may be in its way if `may_fail`.
template <typename Work>
bool within_limits(bool may_fail, Work work) {
  try {
    work();
    return true;
  } catch (const Error& error) {
    if (!may_fail || error.code() != Errc::limit_exceeded) throw;
    return false;
  }
}

}  // namespace qcowkit::test
