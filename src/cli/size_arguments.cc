// Sizes as arguments and as values of options, and what is said of those that are none.
#include "cli/size_arguments.h"

#include <fmt/core.h>

#include <optional>

#include "base/units.h"
#include "cli/failure.h"

namespace qcowkit::cli {

std::uint64_t size_argument(const std::string& text, std::string_view what, std::uint64_t min,
                            std::uint64_t max) {
  SizeProblem problem = SizeProblem::syntax;
  const std::optional<std::uint64_t> size = parse_size(text, &problem);
  if (size && *size >= min && *size <= max) return *size;
  if (size || problem == SizeProblem::out_of_range) {
    throw Failure(fmt::format("Invalid {} specified. Must be between {} and {}.", what, min, max));
  }
  throw Failure::of_lines(
      fmt::format("Invalid {} specified. You may use k, M, G, T, P or E suffixes for\n"
                  "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
                  what));
}

}  // namespace qcowkit::cli
