// The executable: finds out which program it was called as, and runs that.
#include <algorithm>
#include <array>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "cli/program.h"

namespace qcowkit::cli {

namespace {

/// The image tool goes by any name that is not another program's.
constexpr std::array kPrograms = {
    Program{"qcow", run_image_tool},
    Program{"qemu-img", run_image_tool},
    Program{"qemu-io", run_io_program},
    Program{"qemu-nbd", run_nbd_program},
};

const Program& find_program(std::string_view name) {
  const auto found = std::find_if(kPrograms.begin(), kPrograms.end(),
                                  [&](const Program& program) { return program.name == name; });
  return found == kPrograms.end() ? kPrograms.front() : *found;
}

std::string_view last_component(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

}  // namespace

}  // namespace qcowkit::cli

int main(int argc, char** argv) {
  using namespace qcowkit::cli;
  // A write beyond the limit on file sizes is to fail with an error, not to end the process.
  std::signal(SIGXFSZ, SIG_IGN);
  const std::vector<std::string_view> words(argv, argv + argc);
  const std::string_view name = words.empty() ? "qcow" : last_component(words[0]);
  // Static, so that what is buffered is written whoever ends the program with std::exit.
  static Console console{std::string(name)};
  return find_program(name).run(Words(words).subspan(words.empty() ? 0 : 1), console);
}
