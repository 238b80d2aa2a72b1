// Errors that name the image.
#pragma once

#include <string>

#include "qcowkit/error.h"

namespace qcowkit {

/// Runs `work`; what it throws gets the image's name in front.
template <typename Work>
auto named(const std::string& filename, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Error& error) {
    // What the image's own file reports has it already.
    if (error.message().starts_with(filename + ": ")) throw;
    throw error.within(filename);
  }
}

}  // namespace qcowkit
