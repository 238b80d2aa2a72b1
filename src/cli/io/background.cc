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
  requests_.clear();
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

void Background::start(Work work) {
  std::erase_if(requests_, [](const Request& request) { return request.has_ended->load(); });
  auto has_ended = std::make_shared<std::atomic<bool>>(false);
  std::latch begun(1);
  std::jthread thread([this, &begun, has_ended, work = std::move(work)] {
    begun.count_down();
    tell(work());
    has_ended->store(true);
  });
  requests_.push_back({std::move(has_ended), std::move(thread)});
  begun.wait();
}

void Background::tell(std::string_view text) {
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
  requests_.clear();  // joins them
  return finished();
}

}  // namespace qcowkit::cli::io
