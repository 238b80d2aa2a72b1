// Requests that are made while the program goes on with its next commands.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace qcowkit::cli::io {

/// Each request runs in a thread of its own. What it has to tell is kept until somebody asks, so
/// that it does not come between the lines of a command. Owned and asked by one thread.
class Background {
 public:
  /// Makes a request and returns what is to be printed of it. Must not throw.
  using Work = std::function<std::string()>;

  Background();
  ~Background();  ///< waits for all of them
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// Returns as soon as the request has begun: requests begin in the order of their commands.
  void start(Work work);
  /// What has ended since the last question, in the order of ending.
  std::string finished();
  /// Waits for all requests; returns the same.
  std::string wait_for_all();
  /// Becomes readable when a request ends.
  int readable_fd() const noexcept { return pipe_[0]; }

 private:
  struct Request {
    std::shared_ptr<std::atomic<bool>> has_ended;
    std::jthread thread;
  };
  void tell(std::string_view text);

  int pipe_[2] = {-1, -1};
  std::vector<Request> requests_;
  Mutex mutex_;
  std::string finished_ GUARDED_BY(mutex_);
};

}  // namespace qcowkit::cli::io
