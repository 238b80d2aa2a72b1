// Other programs, run from tests.
#include "tests/support/command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <system_error>
#include <utility>

namespace qcowkit::test {

namespace {

constexpr int kNotFoundExitCode = 127;

[[noreturn]] void fail(int errno_value, const std::string& what) {
  throw std::system_error(errno_value, std::generic_category(), what);
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail(errno, "pipe2");
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void close_read() noexcept { close_end(read_end); }
  void close_write() noexcept { close_end(write_end); }

  int read_end = -1;
  int write_end = -1;

 private:
  static void close_end(int& end) noexcept {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

/// Starts `argv` with the given descriptors as its standard ones; -1 if there is no such program.
pid_t spawn(const std::vector<std::string>& argv, int in, int out, int err) {
  std::vector<std::string> copy = argv;
  std::vector<char*> pointers;
  for (std::string& argument : copy) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, pointers[0], &actions, nullptr, pointers.data(), ::environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return -1;
  if (error != 0) fail(error, "start " + argv[0]);
  return pid;
}

int wait_for_exit(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail(errno, "waitpid");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// A program that does not read its input must not end the test by SIGPIPE.
void ignore_sigpipe() {
  static const auto once = ::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(once);
}

/// Appends what is there to read; false at the end of the stream.
bool drain(int fd, std::string& into) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  into.append(buffer.data(), static_cast<std::size_t>(got));
  return got > 0;
}

/// Writes some of `input`; false once all is written or nobody reads.
bool feed(int fd, std::string_view& input) {
  const ssize_t put = ::write(fd, input.data(), input.size());
  if (put < 0) return errno == EINTR || errno == EAGAIN;
  input.remove_prefix(static_cast<std::size_t>(put));
  return !input.empty();
}

}  // namespace

CommandResult run(const std::vector<std::string>& argv, std::string_view input) {
  ignore_sigpipe();
  Pipe in;
  Pipe out;
  Pipe err;
  const pid_t pid = spawn(argv, in.read_end, out.write_end, err.write_end);
  CommandResult result;
  if (pid < 0) {
    result.exit_code = kNotFoundExitCode;
    return result;
  }
  in.close_read();
  out.close_write();
  err.close_write();
  ::fcntl(in.write_end, F_SETFL, O_NONBLOCK);
  if (input.empty()) in.close_write();

  while (out.read_end >= 0 || err.read_end >= 0) {
    std::array<pollfd, 3> wanted{
        {{in.write_end, POLLOUT, 0}, {out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}}};
    if (::poll(wanted.data(), wanted.size(), -1) < 0) {
      if (errno == EINTR) continue;
      fail(errno, "poll");
    }
    if (wanted[0].revents != 0 && !feed(in.write_end, input)) in.close_write();
    if (wanted[1].revents != 0 && !drain(out.read_end, result.out)) out.close_read();
    if (wanted[2].revents != 0 && !drain(err.read_end, result.err)) err.close_read();
  }
  result.exit_code = wait_for_exit(pid);
  return result;
}

bool have_command(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

BackgroundCommand::BackgroundCommand(const std::vector<std::string>& argv) {
  ignore_sigpipe();
  Pipe in;
  Pipe out;
  pid_ = spawn(argv, in.read_end, out.write_end, out.write_end);
  if (pid_ < 0) fail(ENOENT, "start " + argv[0]);
  input_fd_ = std::exchange(in.write_end, -1);
  output_fd_ = std::exchange(out.read_end, -1);
}

BackgroundCommand::~BackgroundCommand() {
  if (pid_ >= 0) {
    ::kill(pid_, SIGKILL);
    int ignored = 0;
    ::waitpid(pid_, &ignored, 0);
  }
  if (input_fd_ >= 0) ::close(input_fd_);
  if (output_fd_ >= 0) ::close(output_fd_);
}

void BackgroundCommand::send_line(std::string_view text) {
  const std::string line = std::string(text) + "\n";
  std::string_view rest = line;
  while (feed(input_fd_, rest)) {
  }
}

bool BackgroundCommand::wait_for(std::string_view text) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + std::chrono::seconds(20);
  while (output_.find(text) == std::string::npos) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd wanted{output_fd_, POLLIN, 0};
    if (::poll(&wanted, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
    if (wanted.revents != 0 && !drain(output_fd_, output_)) return false;
  }
  return true;
}

int BackgroundCommand::finish() {
  if (input_fd_ >= 0) ::close(std::exchange(input_fd_, -1));
  while (drain(output_fd_, output_)) {
  }
  return wait_for_exit(std::exchange(pid_, -1));
}

}  // namespace qcowkit::test
