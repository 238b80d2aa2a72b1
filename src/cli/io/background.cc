// Requests that are made while the program goes on with its next commands.
#include "cli/io/background.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <latch>
#include <utility>

#include "qcowkit/error.h"

namespace qcowkit::cli::io {

Background::Background() {
  if (::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0) throw os_error(errno, "pipe");
}

Background::~Background() {
  threads_.clear();
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

void Background::start(Work work) {
  std::latch begun(1);
  threads_.emplace_back([this, &begun, work = std::move(work)] {
    begun.count_down();
    end(work());
  });
  begun.wait();
}

void Background::end(std::string text) {
  const MutexLock lock(mutex_);
  finished_ += text;
  // A full pipe is readable, which is all that it is there for.
  [[maybe_unused]] const ssize_t written = ::write(pipe_[1], "", 1);
}

std::string Background::finished() {
  std::array<char, 64> ignored;
  while (::read(pipe_[0], ignored.data(), ignored.size()) > 0) {
  }
  const MutexLock lock(mutex_);
  return std::exchange(finished_, {});
}

std::string Background::wait_for_all() {
  threads_.clear();  // joins them
  return finished();
}

}  // namespace qcowkit::cli::io
