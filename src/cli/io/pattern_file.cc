// Files whose content is written over and over again.
#include "cli/io/pattern_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "cli/io/complaint.h"

namespace qcowkit::cli::io {

namespace {

class File {
 public:
  explicit File(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) fail();
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  /// Reads at most as many bytes; returns how many there were.
  std::size_t read(std::byte* into, std::size_t length_bytes) {
    while (true) {
      const ssize_t count = ::read(fd_, into, length_bytes);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) fail();
    }
  }

 private:
  [[noreturn]] void fail() const {
    throw BareError(fmt::format("{}: {}", path_, std::generic_category().message(errno)));
  }

  const std::string& path_;
  int fd_;
};

}  // namespace

std::vector<std::byte> repeat_file(const std::string& path, std::uint64_t length_bytes) {
  std::vector<std::byte> bytes(length_bytes);
  File file(path);
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const std::size_t count = file.read(bytes.data() + filled, bytes.size() - filled);
    if (count == 0) break;
    filled += count;
  }
  if (filled == 0) throw BareError(fmt::format("{}: file is empty", path));
  for (std::size_t i = filled; i < bytes.size(); ++i) bytes[i] = bytes[i - filled];
  return bytes;
}

}  // namespace qcowkit::cli::io
