// The programs that this executable is, by the name that it is called with.
#pragma once

#include <span>
#include <string_view>

#include "cli/console.h"
#include "cli/failure.h"

namespace qcowkit::cli {

using Words = std::span<const std::string_view>;

/// `words` are those behind the program's name. Returns the exit code.
struct Program {
  std::string_view name;
  int (*run)(Words words, Console& console);
};

/// qcow, and what it is called with instead of qemu-img: a command, its options and its images.
int run_image_tool(Words words, Console& console);

/// Prints why a command has failed, with the program's name before the message or, where that is so
/// in the reference, before each of its lines.
void report(Console& console, const Failure& failure);

/// What is called instead of qemu-io: options and an image. The image tool's "io" is the same.
int run_io_program(Words words, Console& console);

/// What is called instead of qemu-nbd: a server of images. The image tool's "nbd" is the same, for
/// several images at a time.
int run_nbd_program(Words words, Console& console);

}  // namespace qcowkit::cli
