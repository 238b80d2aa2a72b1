// Both programs run every scenario of every case file, and do the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "fmt/core.h"
#include "tests/conformance/case_file.h"
#include "tests/conformance/differences.h"
#include "tests/conformance/workplace.h"
#include "tests/support/comparison.h"
#include "tests/support/tool.h"

namespace qcowkit::test {
namespace {

/// A start takes long under a sanitizer, so that only a sample is run there.
std::size_t each_of() { return tool_is_slow() ? 3 : 1; }

const Differences& differences() {
  static const Differences list(conformance_folder() / "differences.txt");
  return list;
}

/// The command of "... qemu-img COMMAND ...", for the keys that its JSON may have.
std::string command_of(const std::string& line) {
  constexpr std::string_view kProgram = "qemu-img ";
  const std::size_t found = line.find(kProgram);
  if (found == line.npos) return {};
  const std::size_t begin = found + kProgram.size();
  return line.substr(begin, line.find(' ', begin) - begin);
}

class Run : public ::testing::Test {
 public:
  explicit Run(Scenario scenario) : scenario_(std::move(scenario)) {}

 protected:
  void SetUp() override {
    if (!have_command("qemu-img") || !have_command("qemu-io")) {
      GTEST_SKIP() << "the reference is not installed";
    }
    const auto limits_memory = [](const Step& step) {
      return step.text.find("prlimit --as") != std::string::npos;
    };
    if (tool_is_slow() && std::ranges::any_of(scenario_.steps, limits_memory)) {
      GTEST_SKIP() << "a sanitizer takes as many addresses as there are";
    }
  }

  void TestBody() override {
    expected_ = differences().of(scenario_.subject(), scenario_.title);
    bool is_shared = false;
    for (const Step& step : scenario_.steps) {
      if (step.kind == Step::Kind::given) {
        place_.prepare(step.text);
        continue;
      }
      if (!is_shared) place_.share();
      is_shared = true;
      ++step_number_;
      step_ = &step;
      if (step.kind == Step::Kind::command) run_both();
      if (step.kind == Step::Kind::image) compare_images();
    }
    if (step_ != nullptr) {
      compare("files", place_.listing(Side::ours), place_.listing(Side::reference));
    }
    for (const auto& [number, kind] : expected_) {
      ADD_FAILURE_AT(scenario_.file.c_str(), scenario_.line)
          << "differences.txt lists what is no difference: step " << number << ", " << kind;
    }
  }

 private:
  /// Once a program may have written to an image, how it did that is up to it.
  std::string mask(const std::string& text) const {
    return has_run_ ? masked_with_sizes(text) : masked(text);
  }

  void run_both() {
    const CommandResult reference = place_.run(Side::reference, step_->text, step_->input);
    const CommandResult ours = place_.run(Side::ours, step_->text, step_->input);
    const std::string reference_out = mask(reference.out);
    compare("stdout",
            comparable(mask(ours.out), reference_out,
                       differences().additional_keys(command_of(step_->text))),
            reference_out);
    compare("stderr", mask(ours.err), mask(reference.err));
    compare("exit", std::to_string(ours.exit_code), std::to_string(reference.exit_code));
    has_run_ = true;
  }

  /// The reference tells the same of both, finds no damage in ours, and reads the same.
  void compare_images() {
    const std::string& name = step_->text;
    const std::string told = told_of(Side::reference, name);
    const std::string told_of_ours = told_of(Side::ours, name);
    compare("image", told_of_ours + checked(name, told_of_ours) + compared(name), told);
  }

  std::string told_of(Side side, const std::string& name) const {
    const CommandResult result =
        run({"sh", "-c", "cd \"$0\" && exec qemu-img info \"$1\"", place_.file(side, "."), name});
    return masked_with_sizes(result.out + result.err);
  }
  /// Empty if there is no damage, or nothing that can be checked.
  std::string checked(const std::string& name, const std::string& told) const {
    if (told.find("file format: qcow2") == told.npos) return {};
    // Backing files need not be there.
    const std::string image = R"(json:{"driver":"qcow2","backing":null,"file.filename":")" +
                              place_.file(Side::ours, name) + "\"}";
    const CommandResult result = run({"qemu-img", "check", image});
    return result.ok() ? "" : result.out + result.err;
  }
  /// Empty if both hold the same disk, or one that only a key opens.
  std::string compared(const std::string& name) const {
    const CommandResult result = run({"qemu-img", "compare", "-s", place_.file(Side::ours, name),
                                      place_.file(Side::reference, name)});
    const bool is_same = result.ok() || result.out.find("block status") != std::string::npos ||
                         result.err.find("key-secret") != std::string::npos;
    return is_same ? "" : result.out + result.err;
  }

  void compare(const std::string& kind, const std::string& ours, const std::string& reference) {
    const bool is_expected = expected_.erase({step_number_, kind}) != 0;
    if (ours == reference && is_expected) {
      ADD_FAILURE_AT(scenario_.file.c_str(), step_->line)
          << "differences.txt lists what is no difference: step " << step_number_ << ", " << kind;
    }
    if (ours == reference || is_expected) return;
    ADD_FAILURE_AT(scenario_.file.c_str(), step_->line)
        << step_->text << "\n--- " << kind << " of the reference (step " << step_number_ << ")\n"
        << reference << "\n--- ours\n"
        << ours;
  }

  const Scenario scenario_;
  Workplace place_;
  std::set<Difference> expected_;  ///< those that have not been met yet
  std::size_t step_number_ = 0;
  const Step* step_ = nullptr;
  bool has_run_ = false;
};

/// "a raw image, by its name" becomes "ARawImageByItsName".
std::string name_of(const std::string& title) {
  std::string name;
  bool starts_word = true;
  for (const char c : title) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) == 0) {
      starts_word = true;
      continue;
    }
    name += starts_word ? static_cast<char>(std::toupper(byte)) : c;
    starts_word = false;
  }
  return name;
}

/// Makes a test of each scenario.
bool register_scenarios() {
  for (const std::filesystem::path& path : case_files()) {
    std::size_t index = 0;
    for (const Scenario& scenario : read_case_file(path)) {
      if (index++ % each_of() != 0) continue;
      ::testing::RegisterTest(scenario.subject().c_str(), name_of(scenario.title).c_str(), nullptr,
                              nullptr, path.c_str(), scenario.line,
                              [scenario]() -> ::testing::Test* { return new Run(scenario); });
    }
  }
  return true;
}

const bool registered = register_scenarios();

TEST(Differences, AreThoseOfScenariosThatThereAre) {
  EXPECT_TRUE(registered);
  std::set<std::pair<std::string, std::string>> scenarios;
  for (const std::filesystem::path& path : case_files()) {
    for (const Scenario& scenario : read_case_file(path)) {
      scenarios.emplace(scenario.subject(), scenario.title);
    }
  }
  for (const Differences::Entry& entry : differences().entries()) {
    EXPECT_TRUE(scenarios.contains({entry.subject, entry.title}))
        << "differences.txt:" << entry.line;
    EXPECT_FALSE(entry.differences.empty()) << "differences.txt:" << entry.line;
  }
}

}  // namespace
}  // namespace qcowkit::test
