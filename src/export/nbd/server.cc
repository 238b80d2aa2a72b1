// class NbdServer: waiting for clients, and for their end.
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "export/nbd/connection.h"
#include "export/nbd/socket_transport.h"
#include "qcowkit/nbd.h"

namespace qcowkit {

namespace {

using nbd::Connection;
using nbd::Exports;
using Clock = std::chrono::steady_clock;

/// Clients that have not chosen an export yet. More of them wait to be accepted, until one has
/// chosen, or the one that has taken longest has had so much time.
constexpr std::uint32_t kHandshakesMax = 128;
constexpr auto kHandshakeTimeAtLeast = std::chrono::seconds(1);
constexpr std::uint32_t kExtraThreadsDefault = 32;
/// How long to wait where the system has no more descriptors.
constexpr auto kAcceptAgainAfter = std::chrono::milliseconds(100);

/// Wakes a thread that waits in `poll`.
class WakeUp {
 public:
  WakeUp() : socket_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor() < 0) throw os_error(errno, "eventfd");
  }
  int descriptor() const noexcept { return socket_.descriptor(); }
  void call() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(descriptor(), &one, sizeof one));  // full: it is awake anyway
  }
  void clear() noexcept {
    std::uint64_t count;
    static_cast<void>(!::read(descriptor(), &count, sizeof count));
  }

 private:
  const NbdSocket socket_;
};

/// For `poll`: until then, rounded up; -1 for ever.
int milliseconds_until(std::optional<Clock::time_point> when) {
  if (!when) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*when - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
}

}  // namespace

/// Lock order: `mutex`, then those of connections and the crew. Callbacks run without any.
struct NbdServer::Impl final : nbd::Host {
  explicit Impl(NbdServerOptions wanted)
      : options(std::move(wanted)),
        memory_pool(options.memory_bytes_max != 0 ? options.memory_bytes_max
                                                  : nbd::MemoryPool::kBytesDefault),
        workers(options.extra_threads_max != 0 ? options.extra_threads_max : kExtraThreadsDefault) {
  }

  nbd::Crew& crew() noexcept override { return workers; }
  nbd::MemoryPool& memory() noexcept override { return memory_pool; }
  void entered(Connection& connection) noexcept override;
  void ended(Connection& connection) noexcept override;
  void report(const std::string& problem) noexcept override {
    if (options.on_problem) options.on_problem(problem);
  }

  // The thread that waits for clients.
  void run();
  std::optional<Clock::time_point> next_deadline();
  /// When the first of those that negotiate is to be sent away, if at all.
  std::optional<Clock::time_point> handshake_deadline() REQUIRES(mutex);
  /// Waits for clients, deadlines and `wake_up`.
  void wait_for_something();
  bool may_accept();
  void accept_from(const NbdSocket& socket);
  void cut_off_the_late();
  void end_all();
  void flush_all();

  void add(NbdSocket connected);

  const NbdServerOptions options;
  nbd::MemoryPool memory_pool;
  nbd::Crew workers;
  WakeUp wake_up;
  std::atomic<bool> is_stopping{false};
  std::atomic<bool> is_cutting_off{false};
  std::vector<NbdSocket> listening;  // used by `run`, once it runs
  std::optional<Clock::time_point> accept_again_at;
  bool lacks_descriptors = false;  // that was reported
  std::thread thread;

  Mutex mutex;
  std::shared_ptr<const Exports> exports GUARDED_BY(mutex) = std::make_shared<Exports>();
  bool is_started GUARDED_BY(mutex) = false;
  bool is_done GUARDED_BY(mutex) = false;
  CondVar done;
  std::optional<Error> flush_error GUARDED_BY(mutex);
  std::uint64_t clients_so_far GUARDED_BY(mutex) = 0;
  bool somebody_has_entered GUARDED_BY(mutex) = false;
  std::map<std::uint64_t, std::shared_ptr<Connection>> connections GUARDED_BY(mutex);
  std::map<std::uint64_t, Clock::time_point> handshakes GUARDED_BY(mutex);  // since when
};

void NbdServer::Impl::run() {
  while (!is_stopping) {
    wait_for_something();
    cut_off_the_late();
  }
  listening.clear();
  end_all();
  workers.dismiss();
  flush_all();
  const MutexLock lock(mutex);
  is_done = true;
  done.notify_all();
}

std::optional<Clock::time_point> NbdServer::Impl::next_deadline() {
  const MutexLock lock(mutex);
  const std::optional<Clock::time_point> late = handshake_deadline();
  if (!late || !accept_again_at) return late ? late : accept_again_at;
  return std::min(*late, *accept_again_at);
}

std::optional<Clock::time_point> NbdServer::Impl::handshake_deadline() {
  if (handshakes.empty()) return std::nullopt;
  const Clock::time_point since = handshakes.begin()->second;
  if (handshakes.size() >= kHandshakesMax) return since + kHandshakeTimeAtLeast;
  if (options.handshake_seconds == 0) return std::nullopt;
  return since + std::chrono::seconds(options.handshake_seconds);
}

void NbdServer::Impl::wait_for_something() {
  std::vector<pollfd> waiting{{.fd = wake_up.descriptor(), .events = POLLIN, .revents = 0}};
  if (may_accept()) {
    for (const NbdSocket& socket : listening) {
      waiting.push_back({.fd = socket.descriptor(), .events = POLLIN, .revents = 0});
    }
  }
  const int found = ::poll(waiting.data(), waiting.size(), milliseconds_until(next_deadline()));
  if (found <= 0) return;
  if (waiting[0].revents != 0) wake_up.clear();
  for (std::size_t i = 1; i < waiting.size(); ++i) {
    if (waiting[i].revents != 0 && may_accept()) accept_from(listening[i - 1]);
  }
}

bool NbdServer::Impl::may_accept() {
  if (accept_again_at && Clock::now() < *accept_again_at) return false;
  accept_again_at.reset();
  const MutexLock lock(mutex);
  const std::size_t limit =
      options.connections_max != 0 ? options.connections_max : connections.max_size();
  return connections.size() < limit && handshakes.size() < kHandshakesMax;
}

void NbdServer::Impl::accept_from(const NbdSocket& socket) {
  const int descriptor = ::accept4(socket.descriptor(), nullptr, nullptr, SOCK_CLOEXEC);
  if (descriptor >= 0) {
    lacks_descriptors = false;
    return add(NbdSocket(descriptor));
  }
  switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      if (!std::exchange(lacks_descriptors, true)) report(os_error(errno, "accept").message());
      accept_again_at = Clock::now() + kAcceptAgainAfter;
      break;
    default:  // that client has gone again
      break;
  }
}

void NbdServer::Impl::add(NbdSocket connected) {
  std::string address = nbd::peer_address(connected.descriptor());
  auto transport =
      std::make_shared<nbd::SocketTransport>(std::move(connected), options.send_seconds);
  std::shared_ptr<Connection> connection;
  {
    const MutexLock lock(mutex);
    const std::uint64_t id = ++clients_so_far;
    NbdClient client{.id = id, .address = std::move(address), .export_name = {}};
    connection = std::make_shared<Connection>(std::move(transport), std::move(client), exports,
                                              options.tls, *this);
    connections.emplace(id, connection);
    handshakes.emplace(id, Clock::now());
    // Who is drained cannot be missed: either here or by `end_all`.
    if (is_stopping) connection->drain();
  }
  if (workers.call(connection)) return;
  report("a client was turned away: the system has no thread for it");
  connection->abort();
  ended(*connection);
}

void NbdServer::Impl::cut_off_the_late() {
  const MutexLock lock(mutex);
  for (auto deadline = handshake_deadline(); deadline && *deadline <= Clock::now();
       deadline = handshake_deadline()) {
    connections.at(handshakes.begin()->first)->abort();
    handshakes.erase(handshakes.begin());
  }
}

void NbdServer::Impl::entered(Connection& connection) noexcept {
  {
    const MutexLock lock(mutex);
    somebody_has_entered = true;
    handshakes.erase(connection.client().id);
  }
  if (options.on_connect) options.on_connect(connection.client());
  wake_up.call();
}

void NbdServer::Impl::ended(Connection& connection) noexcept {
  const bool had_entered = connection.has_entered();
  bool is_last = false;
  std::shared_ptr<Connection> keep;  // its destruction takes no lock of ours
  {
    const MutexLock lock(mutex);
    const auto found = connections.find(connection.client().id);
    keep = std::move(found->second);
    connections.erase(found);
    handshakes.erase(connection.client().id);
    // One that still negotiates may have been told already that it is in.
    if (connections.empty()) is_last = std::exchange(somebody_has_entered, false);
  }
  if (had_entered && options.on_disconnect) options.on_disconnect(connection.client());
  if (is_last && options.on_last_disconnect) options.on_last_disconnect();
  wake_up.call();
}

void NbdServer::Impl::end_all() {
  const auto for_each = [this](void (Connection::*what)() noexcept) {
    const MutexLock lock(mutex);
    for (const auto& [id, connection] : connections) (*connection.*what)();
    return connections.empty();
  };
  const Clock::time_point cut_off_at = Clock::now() + std::chrono::seconds(options.drain_seconds);
  while (!for_each(is_cutting_off ? &Connection::abort : &Connection::drain)) {
    pollfd waiting{.fd = wake_up.descriptor(), .events = POLLIN, .revents = 0};
    const int timeout = is_cutting_off ? -1 : milliseconds_until(cut_off_at);
    if (::poll(&waiting, 1, timeout) > 0) wake_up.clear();
    if (Clock::now() >= cut_off_at) is_cutting_off = true;
  }
}

void NbdServer::Impl::flush_all() {
  std::set<Image*> images;
  std::shared_ptr<const Exports> all;
  {
    const MutexLock lock(mutex);
    all = exports;
  }
  for (const auto& disk : *all) {
    if (!disk->read_only) images.insert(&disk->image);
  }
  for (Image* const image : images) {
    try {
      image->flush();
    } catch (const Error& error) {
      report(error.message());
      const MutexLock lock(mutex);
      if (!flush_error) flush_error = error;
    }
  }
}

NbdServer::NbdServer(NbdServerOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

NbdServer::~NbdServer() {
  request_stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void NbdServer::add_export(const NbdExport& disk) {
  const auto served =
      std::make_shared<const nbd::ServedExport>(disk, impl_->options.connections_max != 1);
  const MutexLock lock(impl_->mutex);
  const Exports& present = *impl_->exports;
  if (std::any_of(present.begin(), present.end(),
                  [&](const auto& other) { return other->name == served->name; })) {
    throw Error(Errc::invalid_argument,
                fmt::format("export \"{}\": there is another of this name", served->name));
  }
  auto more = std::make_shared<Exports>(present);
  more->push_back(served);
  impl_->exports = std::move(more);
}

void NbdServer::start(std::vector<NbdSocket> listening) {
  for (const NbdSocket& socket : listening) {
    // A client that is gone again when its turn comes must not hold up the others.
    const int flags = ::fcntl(socket.descriptor(), F_GETFL);
    if (flags < 0 || ::fcntl(socket.descriptor(), F_SETFL, flags | O_NONBLOCK) != 0) {
      throw os_error(errno, "listen");
    }
  }
  {
    const MutexLock lock(impl_->mutex);
    if (impl_->is_started) throw Error(Errc::invalid_argument, "the server was started before");
    impl_->is_started = true;
  }
  impl_->listening = std::move(listening);
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

void NbdServer::serve(NbdSocket connected) { impl_->add(std::move(connected)); }

void NbdServer::request_stop() noexcept {
  impl_->is_stopping = true;
  impl_->wake_up.call();
}

void NbdServer::request_cut_off() noexcept {
  impl_->is_cutting_off = true;
  request_stop();
}

void NbdServer::wait() {
  const MutexLock lock(impl_->mutex);
  while (impl_->is_started && !impl_->is_done) impl_->done.wait(impl_->mutex);
  if (impl_->flush_error) throw *impl_->flush_error;
}

void NbdServer::stop() {
  request_stop();
  wait();
}

}  // namespace qcowkit
