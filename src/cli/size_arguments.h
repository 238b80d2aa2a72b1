// Sizes as arguments and as values of options, and what is said of those that are none.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace qcowkit::cli {

/// The value of an option that is a size; `what` is what the message calls it ("image size").
/// Throws `Failure` for malformed sizes and those that do not lie within the limits.
std::uint64_t size_argument(const std::string& text, std::string_view what, std::uint64_t min = 0,
                            std::uint64_t max = std::numeric_limits<std::int64_t>::max());

}  // namespace qcowkit::cli
