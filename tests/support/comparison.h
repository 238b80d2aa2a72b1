// Whether two outputs are the same, but for what cannot be.
#pragma once

#include <set>
#include <string>

namespace qcowkit::test {

/// `text` with what depends on the moment, on chance or on the machine's speed replaced by words in
/// capitals: dates, times and rates, UUIDs, numbers of iterations, percentages of progress.
std::string masked(const std::string& text);

/// The same, and how much of the host an image takes: once a program has written to an image, that
/// is up to the program.
std::string masked_with_sizes(const std::string& text);

/// `ours` laid out so that it can be compared with `reference`: where that is JSON, both are
/// indented alike, and `additional_keys` that the reference does not have are left out.
std::string comparable(const std::string& ours, const std::string& reference,
                       const std::set<std::string>& additional_keys);

}  // namespace qcowkit::test
