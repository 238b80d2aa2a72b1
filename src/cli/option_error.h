// Options that make no sense.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "cli/failure.h"

namespace qcowkit::cli {

/// An option that there is not, or that is not used as it is to be used.
class OptionError : public UsageError {
 public:
  enum class Kind { unknown, ambiguous, lacks_value, takes_no_value };

  /// `option`: as it was given, without a value. `possibilities`: what an ambiguous one may stand
  /// for.
  OptionError(Kind kind, std::string_view option, const std::string& message,
              std::string possibilities = {})
      : UsageError(message),
        kind_(kind),
        option_(option),
        possibilities_(std::move(possibilities)) {}

  /// What the system's parser of options (getopt_long) says of it, as programs do that leave it
  /// to that.
  std::string systems_words() const;

 private:
  Kind kind_;
  std::string option_;
  std::string possibilities_;  ///< each in quotes, behind a blank
};

}  // namespace qcowkit::cli
