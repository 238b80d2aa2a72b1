// How a command of the I/O program ends when it cannot do its work, besides `cli::Failure`.
#pragma once

#include <stdexcept>

namespace qcowkit::cli::io {

/// What is said on standard output, as it is: the reference has its results and most of its
/// complaints on one stream.
class Complaint : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What is said on standard error, without the program's name before it.
class BareError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Words that make no sense: the command's line of the list of commands is shown.
class WrongUsage : public std::exception {};

}  // namespace qcowkit::cli::io
