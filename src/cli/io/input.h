// The lines that the I/O program reads from its standard input.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace qcowkit::cli::io {

class InputLines {
 public:
  /// The next line without its end; nothing behind the last one. While there is none yet,
  /// `on_readable` is called whenever `other_fd` can be read from.
  std::optional<std::string> next(int other_fd, const std::function<void()>& on_readable);

 private:
  std::optional<std::string> take_line();
  bool read_more();

  std::string buffer_;
  bool has_ended_ = false;
};

}  // namespace qcowkit::cli::io
