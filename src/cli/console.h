// The tool's standard output and standard error.
#pragma once

#include <fmt/core.h>

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

namespace qcowkit::cli {

/// Buffers standard output and keeps it in order with standard error. Used by one thread at a time.
/// Where either is a terminal, control characters are shown instead of sent (`for_terminal`).
///
/// Printing never fails: the first error is remembered, what follows is dropped, and `finish`
/// reports it, so that no caller need look at every line.
class Console {
 public:
  /// `program` is what messages start with.
  explicit Console(std::string program) : program_(std::move(program)) {}
  ~Console() { flush(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  const std::string& program() const noexcept { return program_; }
  /// True if the program was called by a name of the reference's: who reads its lists expects what
  /// is in those.
  bool is_reference() const noexcept { return program_.starts_with("qemu-"); }

  /// Adds formatted text to standard output.
  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(buffer_), format, std::forward<Args>(args)...);
    if (buffer_.size() >= kBufferBytes) flush();
  }
  /// Adds text to standard output as it is.
  void write(std::string_view text) {
    buffer_.append(text);
    if (buffer_.size() >= kBufferBytes) flush();
  }

  /// True if standard output is a terminal whose user wants colours.
  bool has_colours() const noexcept;
  /// `text` as a heading: bold where standard output is a terminal that wants colours.
  std::string heading(std::string_view text) const;

  /// Hands what is buffered to the operating system.
  void flush() noexcept;
  /// True if standard output has failed: there is no point in producing more of it.
  bool failed() const noexcept { return error_ != 0; }

  /// Writes "`program`: `message`" and a line end to standard error, after all standard output.
  void error(std::string_view message);
  /// Writes `text` to standard error as it is, after all standard output.
  void write_error(std::string_view text);

  /// Flushes, and throws `Failure` if any output was lost.
  void finish();

 private:
  static constexpr std::size_t kBufferBytes = 64 * 1024;

  std::string program_;
  std::string buffer_;
  int error_ = 0;  ///< errno of the first failed write to standard output
};

}  // namespace qcowkit::cli
