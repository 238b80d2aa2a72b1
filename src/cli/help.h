// The texts of --help.
#pragma once

#include <span>
#include <string_view>

#include "cli/command.h"

namespace qcowkit::cli {

/// What the tool is and which commands it has.
void print_tool_help(Console& console, std::span<const Command* const> commands);

/// The program's version; by a name of the reference's also the release that it stands for.
void print_version(Console& console);

/// How one command is used: every option, exit codes, examples. `called` is what it is called by;
/// empty: its name behind the program's.
void print_command_help(Console& console, const Command& command, std::string_view called = {});

}  // namespace qcowkit::cli
