#include "export/nbd/connection.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "export/nbd/serve_request.h"

namespace qcowkit::nbd {

namespace {

/// From here on a request is slow: others are to be received while it is served.
constexpr std::int64_t kSlowNanoseconds = 20'000;
/// Waking another core pays off for at least so much of quick requests.
constexpr std::int64_t kShareNanoseconds = 100'000;
/// Moving a byte is no waiting for the storage.
constexpr std::int64_t kBytesPerNanosecond = 4;
constexpr std::uint64_t kLargeBytes = 256 * 1024;
constexpr std::uint32_t kWorkersMax = 32;

bool changes(Command command) noexcept {
  return command != Command::read && command != Command::block_status && command != Command::cache;
}

bool client_just_left(const std::system_error& error) noexcept {
  return error.code() == std::errc::connection_reset || error.code() == std::errc::broken_pipe;
}

}  // namespace

/// One thread at work for the connection.
class Connection::Worker final : public ReplySink {
 public:
  Worker(Connection& connection, Buffer& memory)
      : connection_(connection),
        reply_(connection.session_->style, *this, memory, connection.budget_) {}

  /// What a request took, in nanoseconds.
  struct Took {
    std::int64_t all;
    std::int64_t without_moving_bytes;
  };

  /// Serves the requests in order; tells what each took on average.
  Took serve(std::vector<Incoming>& run) noexcept {
    sending_ = {};
    const Clock::time_point started = Clock::now();
    std::int64_t bytes = 0;
    for (Incoming& incoming : run) {
      serve(incoming);
      bytes += static_cast<std::int64_t>(incoming.request.length_bytes);
    }
    const Clock::duration took = Clock::now() - started;
    const Clock::duration took_to_serve = took - sending_;
    reply_.flush();
    const auto count = static_cast<std::int64_t>(run.size());
    run.clear();
    const auto each = [&](Clock::duration all) {
      return std::chrono::nanoseconds(all).count() / count;
    };
    return {each(took), each(took_to_serve) - bytes / kBytesPerNanosecond / count};
  }

  void send(std::span<const iovec> from) noexcept override {
    const Clock::time_point started = Clock::now();
    const MutexLock lock(connection_.send_mutex_);
    send_now(from);
    sending_ += Clock::now() - started;
  }

  bool sends_files() const noexcept override { return connection_.transport_->sends_files(); }

  void send_pieces(const NextPiece& next) noexcept override {
    const MutexLock lock(connection_.send_mutex_);
    while (!connection_.is_broken_) {
      const auto piece = next();
      if (!piece) return break_off();
      if (piece->bytes.empty()) return;
      send_now(piece->bytes);
      if (piece->file != nullptr) send_now(*piece->file);
    }
  }

 private:
  void send_now(std::span<const iovec> from) noexcept REQUIRES(connection_.send_mutex_) {
    send_now([&](NbdTransport& transport) { transport.send(from); });
  }
  void send_now(FilePiece& file) noexcept REQUIRES(connection_.send_mutex_) {
    const Clock::time_point started = Clock::now();
    send_now([&](NbdTransport& transport) {
      file.sent_bytes = transport.send_file(file.descriptor, file.offset, file.length_bytes);
    });
    sending_ += Clock::now() - started;
  }
  template <typename Action>
  void send_now(Action action) noexcept REQUIRES(connection_.send_mutex_) {
    if (connection_.is_broken_) return;
    try {
      action(*connection_.transport_);
    } catch (const std::system_error& error) {
      if (!client_just_left(error)) connection_.report(error.what());
      break_off();
    }
  }
  void break_off() noexcept {
    connection_.is_broken_ = true;
    connection_.abort();
  }

  void serve(const Incoming& incoming) noexcept {
    if (incoming.refusal != WireError::none) return reply_.fail(incoming.request, incoming.refusal);
    if (connection_.is_broken_ && !changes(incoming.request.command)) return;
    serve_request(*connection_.session_, incoming.request, incoming.payload, reply_,
                  [this](const std::string& problem) { connection_.report(problem); });
  }

  Connection& connection_;
  ReplyWriter reply_;
  Clock::duration sending_{};
};

Connection::Connection(std::shared_ptr<NbdTransport> plain, NbdClient client,
                       std::shared_ptr<const Exports> exports, std::shared_ptr<NbdTls> tls,
                       Host& host)
    : plain_(std::move(plain)),
      client_(std::move(client)),
      exports_(std::move(exports)),
      tls_(std::move(tls)),
      host_(host),
      transport_(plain_),
      budget_(host.memory()) {}

void Connection::work(Buffer& memory) noexcept {
  // Others are called only when there is a reader.
  if (reader_ || negotiate()) {
    serve(memory);
  } else {
    end();
  }
}

void Connection::drain() noexcept {
  is_draining_ = true;
  plain_->shut_down(NbdTransport::Direction::receiving);
}

void Connection::abort() noexcept { plain_->shut_down(NbdTransport::Direction::both); }

bool Connection::negotiate() noexcept {
  try {
    std::optional<Session> session =
        Handshake(transport_, *exports_, tls_.get(), is_draining_).run();
    if (!session) return false;
    client_.export_name = session->disk->name;
    session_ = std::move(session);
    reader_.emplace(
        *transport_, session_->rules(), budget_, is_draining_,
        [this](const Request& request, std::uint64_t at, std::span<const std::byte> bytes) {
          return write_piece(*session_, request, at, bytes,
                             [this](const std::string& problem) { report(problem); });
        });
    host_.entered(*this);
    return true;
  } catch (const std::system_error& error) {
    if (!client_just_left(error)) report(error.what());
  } catch (const std::exception& error) {
    report(error.what());
  }
  return false;
}

void Connection::serve(Buffer& memory) noexcept {
  Worker worker(*this, memory);
  std::vector<Incoming> run;
  mutex_.lock();
  while (true) {
    if (next_pending_ < pending_.size()) {
      take_run(run);
      const Pace pace = pace_of(run.front().request);
      const bool has_many = has_many_bytes(run.front().request);
      mutex_.unlock();
      const Worker::Took took = worker.serve(run);
      mutex_.lock();
      Experience::learn(experience_.nanoseconds[static_cast<int>(pace)], took.without_moving_bytes);
      if (has_many) Experience::learn(experience_.many_bytes_nanoseconds, took.all);
    } else if (!is_receiving_ && !reader_->is_at_end()) {
      is_receiving_ = true;
      const bool is_alone = workers_ == 1;
      mutex_.unlock();
      receive(memory, is_alone);
      mutex_.lock();
      is_receiving_ = false;
      // Whoever takes the role has found nothing pending, and nobody else adds anything.
      pending_.clear();
      next_pending_ = 0;
      pending_.swap(received_);
      call_workers();
    } else {
      break;
    }
  }
  const bool is_last = --workers_ == 0;
  mutex_.unlock();
  if (is_last) end();
}

void Connection::receive(Buffer& memory, bool is_alone) noexcept {
  try {
    reader_->read(received_, memory, is_alone);
  } catch (const std::system_error& error) {
    if (!client_just_left(error) && !is_broken_) report(error.what());
  } catch (const std::exception& error) {
    report(error.what());
  }
}

Connection::Pace Connection::pace_of(const Request& request) noexcept {
  const bool transfers = request.command == Command::read || request.command == Command::write;
  return transfers && !request.has(command_flag::kFua) ? Pace::transfer : Pace::other;
}

bool Connection::has_many_bytes(const Request& request) noexcept {
  return pace_of(request) == Pace::transfer && request.length_bytes >= kLargeBytes;
}

bool Connection::is_large(const Request& request) const noexcept {
  return has_many_bytes(request) && experience_.many_bytes_nanoseconds >= kSlowNanoseconds;
}

void Connection::Experience::learn(std::int64_t& average, std::int64_t nanoseconds) noexcept {
  constexpr std::int64_t kMemory = 8;
  average += (std::max<std::int64_t>(nanoseconds, 0) - average) / kMemory;
}

void Connection::take_run(std::vector<Incoming>& run) {
  const Request& first = pending_[next_pending_].request;
  const Pace pace = pace_of(first);
  const std::size_t left = pending_.size() - next_pending_;
  const bool one_by_one =
      pace == Pace::other || is_large(first) || experience_.of(pace) >= kSlowNanoseconds;
  std::size_t count = one_by_one ? 1 : (left + workers_ - 1) / workers_;
  for (; count > 0; --count, ++next_pending_) {
    Incoming& incoming = pending_[next_pending_];
    if (pace_of(incoming.request) != pace) break;
    if (is_large(incoming.request) && !run.empty()) break;
    run.push_back(std::move(incoming));
  }
}

/// One for each slow request: all of them are served at once, and somebody receives meanwhile.
/// Otherwise as many as the cores can use, if the work is worth waking them; with large requests
/// one more, since some of them wait for the client to take its data.
void Connection::call_workers() {
  std::int64_t slow = 0;
  std::int64_t large = 0;
  std::int64_t nanoseconds = 0;
  for (const Incoming& incoming : pending_) {
    const std::int64_t expected = experience_.of(pace_of(incoming.request));
    slow += expected >= kSlowNanoseconds;
    large += is_large(incoming.request);
    nanoseconds += expected;
  }
  std::int64_t wanted = slow;
  if (slow == 0) {
    static const std::int64_t cores{std::thread::hardware_concurrency()};
    // A client with one request at a time gains nothing from a second thread.
    if (large == 1 && workers_ == 1 && !reader_->has_more()) large = 0;
    const std::int64_t useful = cores + (large > 0) - workers_;
    wanted = std::min(useful, large + nanoseconds / kShareNanoseconds);
  }
  wanted = std::min(wanted, std::int64_t{kWorkersMax} - workers_);
  for (; wanted > 0; --wanted, ++workers_) {
    if (!host_.crew().call_extra(shared_from_this())) break;
  }
}

void Connection::end() noexcept {
  if (!is_broken_) transport_->say_goodbye();
  transport_->shut_down(NbdTransport::Direction::both);
  host_.ended(*this);
}

void Connection::report(const std::string& problem) noexcept {
  const std::string& address = client_.address;
  host_.report(fmt::format("client {}{}{}: {}", client_.id, address.empty() ? "" : " at ", address,
                           problem));
}

}  // namespace qcowkit::nbd
