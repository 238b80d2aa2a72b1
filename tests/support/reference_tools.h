// The reference implementation's tools, run from tests.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/disk_operation.h"

namespace qcowkit::test {

/// Does `run` again, for half a minute at most, while the reference fails because it could not
/// measure the processor time that a passphrase takes: that depends on the moment, above all on a
/// busy machine.
CommandResult patiently(const std::function<CommandResult()>& run);

/// Runs `qemu-img` patiently and returns what it prints; throws `std::runtime_error` with it if it
/// fails.
std::string qemu_img(const std::vector<std::string>& arguments);
/// Runs the commands in one `qemu-io` on the image in `path`; throws as above.
std::string qemu_io(const std::string& path, const std::vector<std::string>& commands,
                    const std::string& format = "qcow2");
/// The same, but a command may fail (as a compressed write to an allocated cluster does).
void qemu_io_best_effort(const std::string& path, const std::vector<std::string>& commands);
/// The `qemu-io` command that does this operation (aligned to sectors, and with one byte all over
/// where it writes); empty for those that have none.
std::string qemu_io_command(const Operation& operation);

/// What the reference reads from the image in `path`. Leaves `path`.raw behind.
std::vector<std::byte> read_by_reference(const std::string& path);
/// What `qemu-img check` and `qemu-img compare` with `content` find wrong, if anything. Leaves
/// `path`.raw behind.
std::optional<std::string> ask_reference(const std::string& path,
                                         std::span<const std::byte> content);

std::vector<std::byte> read_file(const std::string& path);
void write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace qcowkit::test
