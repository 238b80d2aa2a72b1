// Sizes as arguments and as values of options, and what is said of those that are none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qcowkit::cli {

/// The value of an option that is a size; `what` is what the message calls it ("image size").
/// Throws `Failure` for malformed sizes and those of 2^63 bytes and more.
std::uint64_t size_argument(const std::string& text, std::string_view what);

}  // namespace qcowkit::cli
