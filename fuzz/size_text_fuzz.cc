// Fuzz target: sizes, numbers and switches as people write them.
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/option_list.h"
#include "base/units.h"
#include "fuzz/fuzz_target.h"

namespace qcowkit::fuzz {

std::vector<Input> seed_inputs() {
  std::vector<Input> seeds;
  for (const std::string_view words :
       {"1.5G", "0x1bk", " +17", "18446744073709551615", "1e3", "0.00000000000000000001E", "-1",
        "7.999999999999999999E", "010", "on", "5.", ".5k"}) {
    seeds.emplace_back(words.begin(), words.end());
  }
  return seeds;
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace qcowkit;
  const std::string_view words(reinterpret_cast<const char*>(data), size);
  SizeProblem problem{};
  if (const auto bytes = parse_size(words, &problem)) {
    // What was read is written and read as itself.
    if (parse_size(std::to_string(*bytes)) != *bytes) std::abort();
    static_cast<void>(human_size(*bytes));
  }
  bool is_too_large = false;
  static_cast<void>(parse_number(words, &is_too_large));
  static_cast<void>(parse_boolean(words));
  static_cast<void>(is_joinable(words));
  static_cast<void>(asks_for_help(words));
  static_cast<void>(escape_commas(words));
  return 0;
}
