// One client, from its first byte to its last.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "export/nbd/crew.h"
#include "export/nbd/handshake.h"
#include "export/nbd/memory_budget.h"
#include "export/nbd/reply_writer.h"
#include "export/nbd/request_reader.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

class Connection;

/// What a connection needs of its server.
class Host {
 public:
  virtual ~Host() = default;
  virtual Crew& crew() noexcept = 0;
  virtual MemoryPool& memory() noexcept = 0;
  /// The client has chosen an export.
  virtual void entered(Connection& connection) noexcept = 0;
  /// The connection is over, and no thread but the caller's works for it.
  virtual void ended(Connection& connection) noexcept = 0;
  virtual void report(const std::string& problem) noexcept = 0;
};

/// Serves a client with one thread that receives requests, serves them and sends the replies, one
/// batch after the other, without any other thread being woken. Where requests take long, the role
/// of the receiver is handed on before they are served, so that others arrive meanwhile:
///
///     worker:  take requests that wait and serve them
///              -> else, if nobody receives: receive, and call workers for what is slow
///              -> else leave; the last one ends the connection
///
/// Locks, in this order: `mutex_`, then the crew's. `send_mutex_` is taken with neither held.
class Connection final : public Job, public std::enable_shared_from_this<Connection> {
 public:
  /// `plain` carries the bytes, at first at least; `exports` are those that it may choose from.
  Connection(std::shared_ptr<NbdTransport> plain, NbdClient client,
             std::shared_ptr<const Exports> exports, std::shared_ptr<NbdTls> tls, Host& host);

  /// Serves the client. Called by one thread of the crew; it calls others when it needs them.
  void work(Buffer& memory) noexcept override;

  /// What has arrived is still answered, and then the connection ended. Any thread, any time.
  void drain() noexcept;
  /// Nothing is received or sent any more. Any thread, any time.
  void abort() noexcept;

  /// Complete once the client has chosen its export.
  const NbdClient& client() const noexcept { return client_; }
  bool has_entered() const noexcept { return session_.has_value(); }

 private:
  class Worker;
  using Clock = std::chrono::steady_clock;

  /// Requests that are alike in how long they take.
  enum class Pace : std::uint8_t { transfer, other };
  static Pace pace_of(const Request& request) noexcept;
  static bool has_many_bytes(const Request& request) noexcept;
  /// Moving its bytes takes longer than waking another thread, as far as those before it tell.
  bool is_large(const Request& request) const noexcept REQUIRES(mutex_);
  /// How long requests have taken of late, on average.
  struct Experience {
    std::int64_t nanoseconds[2] = {};  ///< by pace, without moving bytes
    /// Of requests for many bytes, with all they took: holes are told of and not moved.
    std::int64_t many_bytes_nanoseconds = 1'000'000;

    std::int64_t of(Pace pace) const noexcept { return nanoseconds[static_cast<int>(pace)]; }
    static void learn(std::int64_t& average, std::int64_t nanoseconds) noexcept;
  };

  bool negotiate() noexcept;
  void serve(Buffer& memory) noexcept;
  /// Fills `received_`.
  void receive(Buffer& memory, bool is_alone) noexcept;
  /// Moves what one worker is to serve next from `pending_` to `run`.
  void take_run(std::vector<Incoming>& run) REQUIRES(mutex_);
  void call_workers() REQUIRES(mutex_);
  void end() noexcept;
  void report(const std::string& problem) noexcept;

  const std::shared_ptr<NbdTransport> plain_;
  NbdClient client_;
  const std::shared_ptr<const Exports> exports_;
  const std::shared_ptr<NbdTls> tls_;
  Host& host_;
  std::atomic<bool> is_draining_{false};
  std::atomic<bool> is_broken_{false};  // nothing can be sent any more

  // Constant once requests are served.
  std::shared_ptr<NbdTransport> transport_;
  std::optional<Session> session_;
  std::optional<RequestReader> reader_;  // used by who receives

  MemoryBudget budget_;
  Mutex send_mutex_;  // one thread sends at a time

  Mutex mutex_;
  std::uint32_t workers_ GUARDED_BY(mutex_) = 1;
  bool is_receiving_ GUARDED_BY(mutex_) = false;
  Experience experience_ GUARDED_BY(mutex_);
  std::vector<Incoming> pending_ GUARDED_BY(mutex_);
  std::size_t next_pending_ GUARDED_BY(mutex_) = 0;
  std::vector<Incoming> received_;  // used by who receives
};

}  // namespace qcowkit::nbd
