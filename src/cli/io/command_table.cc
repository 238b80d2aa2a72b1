// The commands of the I/O program: their list, their help, and how a line runs one.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <new>

#include "cli/failure.h"
#include "cli/io/command.h"
#include "cli/io/command_options.h"
#include "cli/io/complaint.h"

namespace qcowkit::cli::io {

namespace {

/// In the order of their names.
constexpr std::array kCommands = {
    &kAbortCommand,    &kAioFlushCommand, &kAioReadCommand,     &kAioWriteCommand,  &kAllocCommand,
    &kBreakCommand,    &kCloseCommand,    &kDiscardCommand,     &kFlushCommand,     &kHelpCommand,
    &kInfoCommand,     &kLengthCommand,   &kMapCommand,         &kOpenCommand,      &kQuitCommand,
    &kReadCommand,     &kReadvCommand,    &kRemoveBreakCommand, &kReopenCommand,    &kResumeCommand,
    &kSigraiseCommand, &kSleepCommand,    &kTruncateCommand,    &kWaitBreakCommand, &kWriteCommand,
    &kWritevCommand,
};

const Command* find_command(std::string_view name) {
  const auto found = std::ranges::find_if(kCommands, [&](const Command* command) {
    return command->name == name || (!command->alias.empty() && command->alias == name);
  });
  return found == kCommands.end() ? nullptr : *found;
}

std::string usage_line(const Command& command, std::string_view name) {
  std::string line(name);
  if (command.arguments) line += fmt::format(" {}", *command.arguments);
  return line + fmt::format(" -- {}\n", command.summary);
}

/// Words are what blanks separate; there are no quotes.
Words split(std::string_view line) {
  Words words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(' ');
    if (begin == line.npos) return words;
    line.remove_prefix(begin);
    const std::string_view word = line.substr(0, line.find(' '));
    words.emplace_back(word);
    line.remove_prefix(word.size());
  }
}

std::string expected_arguments(const Command& command) {
  if (command.arguments_max == Command::kAnyNumber) {
    return fmt::format("at least {}", command.arguments_min);
  }
  if (command.arguments_min == command.arguments_max) return std::to_string(command.arguments_min);
  return fmt::format("between {} and {}", command.arguments_min, command.arguments_max);
}

/// Says why the command cannot be run with these words at all.
bool may_run(const Command& command, const Words& words, Session& session) {
  Console& console = session.console();
  if (command.needs_image && !session.has_image()) {
    console.write_error("no file open, try 'help open'\n");
    return false;
  }
  const int arguments = static_cast<int>(words.size()) - 1;
  const bool too_many =
      command.arguments_max != Command::kAnyNumber && arguments > command.arguments_max;
  if (arguments < command.arguments_min || too_many) {
    console.write_error(fmt::format("bad argument count {} to {}, expected {} arguments\n",
                                    arguments, words[0], expected_arguments(command)));
    return false;
  }
  if (command.changes_image && session.image().is_read_only()) {
    console.error("Block node is read-only");
    return false;
  }
  return true;
}

bool run_command(const Command& command, const Words& words, Session& session) {
  Console& console = session.console();
  try {
    return command.run(words, session);
  } catch (const BadOption& e) {
    console.write_error(fmt::format("{}\n", e.what()));
    console.write(usage_line(command, command.name));
  } catch (const WrongUsage&) {
    console.write(usage_line(command, command.name));
  } catch (const Complaint& e) {
    console.print("{}\n", e.what());
  } catch (const BareError& e) {
    console.write_error(fmt::format("{}\n", e.what()));
  } catch (const std::bad_alloc&) {
    console.error("Out of memory");
  } catch (const std::exception& e) {
    console.error(e.what());
  }
  return false;
}

bool run_help(const Words& words, Session& session) {
  Console& console = session.console();
  if (words.size() > 1) {
    const Command* command = find_command(words[1]);
    if (command == nullptr) throw Complaint(fmt::format("command {} not found", words[1]));
    console.write(usage_line(*command, words[1]));
    console.write(command->help);
    return true;
  }
  for (const Command* command : kCommands) console.write(usage_line(*command, command->name));
  console.write("\nUse 'help commandname' for extended help.\n");
  return true;
}

}  // namespace

bool run_line(std::string_view line, Session& session) {
  const Words words = split(line);
  if (words.empty()) return true;
  const Command* command = find_command(words[0]);
  if (command == nullptr) {
    session.console().write_error(fmt::format("command \"{}\" not found\n", words[0]));
    return false;
  }
  return may_run(*command, words, session) && run_command(*command, words, session);
}

constexpr Command kHelpCommand{
    .name = "help",
    .alias = "?",
    .arguments = "[command]",
    .summary = "help for one or all commands",
    .arguments_max = 1,
    .run = run_help,
};

}  // namespace qcowkit::cli::io
