// Where the two programs work: a directory for each, which start out the same.
#include "tests/conformance/workplace.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "fmt/core.h"
#include "tests/support/reference_tools.h"
#include "tests/support/tool.h"

namespace qcowkit::test {

Workplace::Workplace() {
  // A link that leads nowhere would be passed over, and the reference compared with itself.
  if (!std::filesystem::exists(tool())) throw std::runtime_error("there is no " + tool());
  for (const char* folder : {"given", "reference", "ours", "bin"}) {
    std::filesystem::create_directory(directory_.file(folder));
  }
  for (const char* program : {"qemu-img", "qemu-io", "qemu-nbd", "qcow"}) {
    std::filesystem::create_symlink(tool(), directory_.file(fmt::format("bin/{}", program)));
  }
}

void Workplace::prepare(const std::string& line) const {
  const CommandResult result = patiently([&] { return run_in("given", "", line, {}); });
  if (!result.ok()) {
    throw std::runtime_error(fmt::format("{}\n{}{}", line, result.out, result.err));
  }
}

void Workplace::share() const {
  if (listing_of("given").empty()) return;
  for (const char* folder : {"reference", "ours"}) {
    const CommandResult copy = test::run({"cp", "-a", "--reflink=never", "--sparse=always",
                                          directory_.file("given/."), directory_.file(folder)});
    if (!copy.ok()) throw std::runtime_error(copy.err);
  }
}

CommandResult Workplace::run(Side side, const std::string& line, const std::string& input) const {
  if (side == Side::ours) return run_in("ours", directory_.file("bin"), line, input);
  return patiently([&] { return run_in("reference", "", line, input); });
}

std::string Workplace::file(Side side, const std::string& name) const {
  return directory_.file(side == Side::ours ? "ours/" : "reference/") + name;
}

std::string Workplace::listing(Side side) const {
  return listing_of(side == Side::ours ? "ours" : "reference");
}

std::string Workplace::listing_of(const std::string& folder) const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.file(folder))) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  return text;
}

CommandResult Workplace::run_in(const std::string& folder, const std::string& programs,
                                const std::string& line, const std::string& input) const {
  return test::run({"sh", "-c", "cd \"$0\" && PATH=\"$1$PATH\" && eval \"$2\"",
                    directory_.file(folder), programs.empty() ? "" : programs + ":", line},
                   input);
}

}  // namespace qcowkit::test
