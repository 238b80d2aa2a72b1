// The tool's standard output and standard error.
#include "cli/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <system_error>

#include "cli/failure.h"
#include "cli/terminal_text.h"

namespace qcowkit::cli {

namespace {

/// Writes all of `text`; returns 0 or the errno.
int write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

/// Scripts get the bytes as they are; people may be looking at a name that a stranger chose.
int write_shown(int fd, std::string_view text) noexcept {
  if (::isatty(fd) == 0) return write_all(fd, text);
  try {
    return write_all(fd, for_terminal(text));
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

}  // namespace

// https://no-color.org: a variable of this name that is not empty asks for plain text.
bool Console::has_colours() const noexcept {
  const char* const no_color = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

std::string Console::heading(std::string_view text) const {
  return has_colours() ? fmt::format("\033[1m{}\033[0m", text) : std::string(text);
}

void Console::flush() noexcept {
  if (error_ == 0) error_ = write_shown(STDOUT_FILENO, buffer_);
  buffer_.clear();
}

void Console::error(std::string_view message) {
  write_error(fmt::format("{}: {}\n", program_, message));
}

void Console::write_error(std::string_view text) {
  flush();
  write_shown(STDERR_FILENO, text);  // there is nobody left to tell if this fails
}

void Console::finish() {
  flush();
  if (error_ != 0) {
    throw Failure("Could not write to standard output: " + std::generic_category().message(error_));
  }
}

}  // namespace qcowkit::cli
