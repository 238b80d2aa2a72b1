// Servers that go on in the background, and the file that says which process they are.
#include "cli/nbd/background.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "cli/failure.h"

namespace qcowkit::cli::nbd {

namespace {

std::string error_text(int code) { return std::generic_category().message(code); }

/// What the parent ends with: 0 once the child has said that it runs, else what the child ended
/// with.
int result_of(pid_t child, int ready_fd) {
  char byte = 0;
  ssize_t count = 0;
  do {
    count = ::read(ready_fd, &byte, 1);
  } while (count < 0 && errno == EINTR);
  if (count == 1) return 0;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

}  // namespace

Background::Background() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Failure(fmt::format("Failed to fork: {}", error_text(errno)));
  }
  const pid_t child = ::fork();
  if (child < 0) throw Failure(fmt::format("Failed to fork: {}", error_text(errno)));
  if (child > 0) {
    ::close(ends[1]);
    ::_exit(result_of(child, ends[0]));
  }
  ::close(ends[0]);
  ready_fd_ = ends[1];
  ::setsid();
}

Background::~Background() {
  if (ready_fd_ >= 0) ::close(ready_fd_);
}

void Background::ready() {
  const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nowhere < 0) throw Failure(fmt::format("Failed to open /dev/null: {}", error_text(errno)));
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nowhere, stream);
  ::close(nowhere);
  const char byte = 0;
  const bool said = ::write(ready_fd_, &byte, 1) == 1;
  ::close(std::exchange(ready_fd_, -1));
  if (!said) throw Failure("the process that was to wait has gone");
}

PidFile::PidFile(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) {
    throw Failure(fmt::format("Could not create '{}': {}", path_, error_text(errno)));
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  const std::string text = fmt::format("{}\n", ::getpid());
  const bool written = ::fcntl(fd_, F_SETLK, &lock) == 0 && ::ftruncate(fd_, 0) == 0 &&
                       ::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (written) return;
  const int error = errno;
  ::close(fd_);
  throw Failure(fmt::format("Could not write '{}': {}", path_, error_text(error)));
}

PidFile::~PidFile() {
  ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace qcowkit::cli::nbd
