// The lines that the I/O program reads from its standard input.
#include "cli/io/input.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace qcowkit::cli::io {

std::optional<std::string> InputLines::take_line() {
  const std::size_t end = buffer_.find('\n');
  if (end == buffer_.npos) {
    if (!has_ended_ || buffer_.empty()) return std::nullopt;
    return std::exchange(buffer_, {});
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return line;
}

/// False at the end of the input, which an error is, too.
bool InputLines::read_more() {
  std::array<char, 4096> bytes;
  const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (count < 0) return errno == EINTR;
  buffer_.append(bytes.data(), static_cast<std::size_t>(count));
  return count > 0;
}

std::optional<std::string> InputLines::next(int other_fd,
                                            const std::function<void()>& on_readable) {
  while (true) {
    if (std::optional<std::string> line = take_line()) return line;
    if (has_ended_) return std::nullopt;
    std::array<pollfd, 2> events = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{other_fd, POLLIN, 0}};
    if (::poll(events.data(), events.size(), -1) < 0) continue;  // a signal
    if (events[1].revents != 0) on_readable();
    if (events[0].revents != 0) has_ended_ = !read_more();
  }
}

}  // namespace qcowkit::cli::io
