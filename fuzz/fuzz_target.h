// What a fuzz target is: code that takes any bytes, and a few that make sense to start from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

/// Runs the target on one input. It must neither crash nor hang, nor read what is not there.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace qcowkit::fuzz {

using Input = std::vector<std::uint8_t>;

/// Inputs that reach deep: random changes of them find more than random bytes.
std::vector<Input> seed_inputs();

}  // namespace qcowkit::fuzz
