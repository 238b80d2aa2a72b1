// Runs a fuzz target without a fuzzer: on its seed inputs, on random changes of them and on random
// bytes.
//
//   TARGET [COUNT [SEED]]    the seed is printed; the same one does the same again
//   TARGET FILE...           runs these inputs, for example those that a fuzzer has found
//   TARGET --seeds DIR       writes the seed inputs to files there, for a fuzzer to start from
//
// With no COUNT, it runs for a second.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>

#include "fuzz/fuzz_target.h"

namespace {

using qcowkit::fuzz::Input;
using Random = std::mt19937_64;

constexpr std::size_t kInputBytesMax = 64 * 1024;
constexpr auto kTime = std::chrono::seconds(1);

void change(Input& input, const std::vector<Input>& seeds, Random& random) {
  const std::size_t at = input.empty() ? 0 : random() % input.size();
  const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
  switch (random() % 6) {
    case 0:
      if (!input.empty()) input[at] = static_cast<std::uint8_t>(random());
      break;
    case 1:
      if (!input.empty()) input[at] ^= static_cast<std::uint8_t>(1u << random() % 8);
      break;
    case 2:
      input.resize(at);
      break;
    case 3:
      input.insert(place, random() % 16, static_cast<std::uint8_t>(random()));
      break;
    case 4:
      if (!input.empty()) input.erase(place);
      break;
    default: {
      const Input& other = seeds[random() % seeds.size()];
      input.insert(place, other.begin(),
                   other.begin() + static_cast<std::ptrdiff_t>(random() % (other.size() + 1)));
    }
  }
}

Input random_input(const std::vector<Input>& seeds, Random& random) {
  if (random() % 8 == 0) {
    Input input(random() % 512);
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
    return input;
  }
  Input input = seeds[random() % seeds.size()];
  for (std::size_t changes = 1 + random() % 6; changes > 0; --changes) change(input, seeds, random);
  if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
  return input;
}

int write_seeds(const std::string& directory) {
  int number = 0;
  for (const Input& input : qcowkit::fuzz::seed_inputs()) {
    std::ofstream file(directory + "/seed" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
    if (!file) {
      std::fprintf(stderr, "%s: cannot be written to\n", directory.c_str());
      return 1;
    }
  }
  return 0;
}

int run_files(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "%s: cannot be read\n", argv[i]);
      return 1;
    }
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const Input input(bytes.begin(), bytes.end());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  if (argc == 3 && std::string_view(argv[1]) == "--seeds") return write_seeds(argv[2]);
  const bool has_count = argc > 1 && std::atoll(argv[1]) > 0;
  if (argc > 1 && !has_count) return run_files(argc, argv);
  const long long count = has_count ? std::atoll(argv[1]) : 0;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);  // it is wanted when the target crashes

  const std::vector<Input> seeds = qcowkit::fuzz::seed_inputs();
  for (const Input& input : seeds) LLVMFuzzerTestOneInput(input.data(), input.size());
  Random random(seed);
  const Clock::time_point end = Clock::now() + kTime;
  long long done = 0;
  for (; has_count ? done < count : Clock::now() < end; ++done) {
    const Input input = random_input(seeds, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%lld inputs\n", done);
  return 0;
}
