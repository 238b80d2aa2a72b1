// The texts of --help.
#include "cli/help.h"

#include <algorithm>
#include <string>

namespace qcowkit::cli {

namespace {

/// The release of the reference whose options and output this tool has.
constexpr std::string_view kReferenceVersion = "7.2.22";

constexpr std::size_t kLineWidth = 80;
constexpr std::size_t kOptionColumn = 26;  // where an option's explanation starts

/// Prints `text` broken at blanks; the first line starts at `column`, further ones are indented
/// to `indent`.
void print_wrapped(Console& console, std::string_view text, std::size_t column,
                   std::size_t indent) {
  bool line_is_empty = true;
  while (!text.empty()) {
    const std::size_t word_size = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, word_size);
    if (!line_is_empty && column + 1 + word.size() > kLineWidth) {
      console.print("\n{:{}}", "", indent);
      column = indent;
      line_is_empty = true;
    }
    console.print("{}{}", line_is_empty ? "" : " ", word);
    column += word.size() + (line_is_empty ? 0 : 1);
    line_is_empty = false;
    text.remove_prefix(std::min(word_size + 1, text.size()));
  }
  console.write("\n");
}

void print_paragraphs(Console& console, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    console.write("\n");
    print_wrapped(console, text.substr(0, end), 0, 0);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string names_of(const OptionSpec& option) {
  std::string names = "  ";
  if (option.short_name != '\0') names += {'-', option.short_name};
  if (!option.long_name.empty()) {
    names += option.short_name != '\0' ? ", --" : "--";
    names += option.long_name;
  }
  if (!option.value.empty()) {
    names += option.long_name.empty() ? ' ' : '=';
    names += option.value;
  }
  return names;
}

void print_option(Console& console, const OptionSpec& option) {
  const std::string names = names_of(option);
  if (names.size() + 2 > kOptionColumn) {
    console.print("{}\n{:{}}", names, "", kOptionColumn);
  } else {
    console.print("{:{}}", names, kOptionColumn);
  }
  print_wrapped(console, option.help, kOptionColumn, kOptionColumn);
}

}  // namespace

void print_tool_help(Console& console, std::span<const Command* const> commands) {
  const std::string& program = console.program();
  console.print(
      "usage: {0} COMMAND [OPTION...] ARGUMENT...\n"
      "       {0} COMMAND --help\n"
      "       {0} --help | --version\n\n"
      "Creates, examines, changes, checks and converts disk images.\n\n"
      "{1}\n",
      program, console.heading("Commands:"));
  for (const Command* command : commands) {
    console.print("  {:<10}{}\n", command->name, command->summary);
  }
  console.print(
      "\n{1}\n"
      "  -h, --help                print this help, or with a command, its help\n"
      "  -V, --version             print the version\n"
      "  -T, --trace=PATTERN       print the engine's events as they happen, as in -T 'l2_*'\n"
      "  --untrusted               open no file because an image names it (backing files,\n"
      "                            external data files)\n\n"
      "Sizes and offsets are in bytes; the suffixes k, M, G, T, P and E mean powers of\n"
      "1024. Formats are qcow2, qcow, luks and raw; a source's format is found out\n"
      "where none is given.\n\n"
      "{2}\n"
      "  {0} create -f qcow2 disk.qcow2 20G\n"
      "  {0} convert -p -O qcow2 disk.raw disk.qcow2\n"
      "  {0} info --output=json disk.qcow2\n",
      program, console.heading("Options:"), console.heading("Examples:"));
}

void print_version(Console& console) {
  const std::string& program = console.program();
  // Scripts ask which release of the reference they talk to.
  if (program.starts_with("qemu-")) {
    console.print("{} version {} (qcowkit {})\n", program, kReferenceVersion, QCOWKIT_VERSION);
  } else {
    console.print("{} version {}\n", program, QCOWKIT_VERSION);
  }
}

void print_command_help(Console& console, const Command& command, std::string_view called) {
  const std::string own_name = fmt::format("{} {}", console.program(), command.name);
  console.print("usage: {} [OPTION...] {}\n", called.empty() ? own_name : called,
                command.arguments);
  print_paragraphs(console, command.description);
  console.print("\n{}\n", console.heading("Options:"));
  for (const OptionSpec& option : command.options) print_option(console, option);
  if (!command.details.empty()) console.print("\n{}", command.details);
}

}  // namespace qcowkit::cli
