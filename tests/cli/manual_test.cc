// The manual pages and the help texts tell of the same options.
#include <regex>
#include <set>
#include <sstream>

#include "tests/cli/conformance.h"

namespace qcowkit::test {
namespace {

using Names = std::set<std::string>;

std::string manual(const std::string& page) {
  const std::filesystem::path source = __FILE__;
  std::ifstream stream(source.parent_path() / "../../man" / page);
  EXPECT_TRUE(stream.good()) << page;
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// The names in the left column of the help's list.
Names options_in_help(const std::string& help) {
  static const std::regex kName("--?[A-Za-z0-9][a-z-]*");
  Names names;
  std::istringstream lines(help.substr(help.find("\nOptions:\n")));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  -")) continue;
    const std::string column = line.substr(0, std::min(line.size(), line.find("  ", 3)));
    for (std::sregex_iterator match(column.begin(), column.end(), kName), end; match != end;
         ++match) {
      names.insert(match->str());
    }
  }
  return names;
}

/// The names in the page's list items: ".It Fl f , Fl -format Ns = Ns Ar FMT".
Names options_in_manual(const std::string& page) {
  static const std::regex kName("Fl (-?[A-Za-z0-9][a-z-]*)");
  Names names;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(".It Fl ")) continue;
    for (std::sregex_iterator match(line.begin(), line.end(), kName), end; match != end; ++match) {
      names.insert("-" + (*match)[1].str());
    }
  }
  return names;
}

TEST(Manual, EveryCommandsPageHasTheOptionsOfItsHelp) {
  for (const std::string command :
       {"amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd", "info",
        "io", "map", "measure", "nbd", "rebase", "resize", "snapshot"}) {
    const Names in_help = options_in_help(qcow({command, "--help"}).out);
    EXPECT_GE(in_help.size(), 5u) << command;
    EXPECT_EQ(options_in_manual(manual("qcow-" + command + ".1")), in_help) << command;
  }
  EXPECT_EQ(options_in_manual(manual("qcow.1")), options_in_help(qcow({"--help"}).out));
}

TEST(Manual, ToolsPageNamesEveryCommand) {
  const std::string page = manual("qcow.1");
  std::istringstream lines(qcow({"--help"}).out);
  bool in_commands = false;
  int commands = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Commands:") in_commands = true;
    if (line.empty()) in_commands = false;
    if (!in_commands || !line.starts_with("  ")) continue;
    const std::string command = line.substr(2, line.find(' ', 2) - 2);
    EXPECT_NE(page.find(".It Cm " + command + "\n"), std::string::npos) << command;
    EXPECT_NE(page.find(".Xr qcow-" + command + " 1"), std::string::npos) << command;
    ++commands;
  }
  EXPECT_GE(commands, 12);
}

/// Each option in the list that a command prints is in the page.
void expect_explained(const std::string& list, const std::string& page) {
  int options = 0;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) continue;
    const std::string name = line.substr(2, line.find('=') - 2);
    EXPECT_NE(page.find(name), std::string::npos) << name;
    ++options;
  }
  EXPECT_GE(options, 4) << list;
}

TEST(Manual, CreatePageExplainsEveryOptionOfTheFormats) {
  const std::string page = manual("qcow-create.1") + manual("qcow-convert.1");
  for (const std::string format : {"qcow2", "qcow", "luks", "raw"}) {
    expect_explained(qcow({"create", "-f", format, "-o", "help", "x"}).out, page);
  }
}

TEST(Manual, AmendPageExplainsEveryOptionOfTheFormats) {
  std::string page = manual("qcow-amend.1");
  expect_explained(qcow({"amend", "-f", "luks", "-o", "help"}).out, page);
  for (const std::string option : {"state", "keyslot", "old-secret", "new-secret", "iter-time"}) {
    page += "encrypt." + option;  // what stands before the names is said once
  }
  expect_explained(qcow({"amend", "-f", "qcow2", "-o", "help"}).out, page);
}

}  // namespace
}  // namespace qcowkit::test
