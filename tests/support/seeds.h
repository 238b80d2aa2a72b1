// Seeds of random tests, as the environment says: QCOWKIT_SEED=s replays one seed, QCOWKIT_SEEDS=n
// runs n of them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>

namespace qcowkit::test {

inline std::optional<std::uint64_t> environment_number(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::nullopt : std::optional(std::strtoull(text, nullptr, 0));
}

/// Calls `run(seed)` for the seed to be replayed or for seeds from 0 on, until `stop()`.
template <typename Run, typename Stop>
void for_each_seed(std::uint64_t count_default, Run run, Stop stop) {
  if (const auto seed = environment_number("QCOWKIT_SEED")) {
    run(*seed);
    return;
  }
  const std::uint64_t count = environment_number("QCOWKIT_SEEDS").value_or(count_default);
  for (std::uint64_t seed = 0; seed < count && !stop(); ++seed) run(seed);
}

}  // namespace qcowkit::test
