// One connection to an NBD server, shared by many threads.
#include "storage/nbd_connection.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>

#include "qcowkit/error.h"
#include "storage/nbd_handle.h"

namespace qcowkit {

namespace {

/// Of what a server says of its bytes, so much is looked at.
constexpr std::size_t kStatusExtentsMax = 64 << 10;
/// Parts of a reply that may come before those in front of them.
constexpr std::size_t kPartsAheadMax = 64 << 10;

std::string context_of(const NbdClientOptions& options) {
  return options.meta_context.value_or("base:allocation");
}

int last_errno(const NbdLibrary& nbd) {
  const int code = nbd.get_errno();
  return code != 0 ? code : EIO;
}

}  // namespace

void NbdRequest::note(std::uint64_t part_offset, std::uint64_t part_bytes) {
  if (part_offset == offset + covered_bytes_) {
    covered_bytes_ += part_bytes;
  } else if (ahead_.size() < kPartsAheadMax) {
    ahead_.emplace_back(part_offset, part_offset + part_bytes);
  }
}

bool NbdRequest::is_covered() {
  std::sort(ahead_.begin(), ahead_.end());
  std::uint64_t covered_to = offset + covered_bytes_;
  for (const auto& [begin, end] : ahead_) {
    if (begin <= covered_to) covered_to = std::max(covered_to, end);
  }
  return covered_to >= offset + length_bytes;
}

NbdConnection::NbdConnection(const NbdClientOptions& options) : nbd_(NbdLibrary::get()) {
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) throw os_error(errno, "eventfd");
  try {
    connect(options);
    ask_facts(options);
  } catch (...) {
    nbd_.close(handle_);
    ::close(wake_fd_);
    throw;
  }
}

NbdConnection::~NbdConnection() {
  nbd_.close(handle_);
  ::close(wake_fd_);
}

void NbdConnection::connect(const NbdClientOptions& options) {
  handle_ = nbd_.create();
  if (handle_ == nullptr) throw last_nbd_error(nbd_);
  require_nbd(nbd_, nbd_.set_export_name(handle_, options.export_name.c_str()));
  require_nbd(nbd_, nbd_.add_meta_context(handle_, context_of(options).c_str()));
  // Buffers are filled or the request fails; clearing them before would be wasted. What is asked is
  // right already.
  require_nbd(nbd_, nbd_.set_pread_initialize(handle_, false));
  require_nbd(nbd_, nbd_.set_strict_mode(handle_, 0));
  relay_ = connect_to_server(nbd_, handle_, options);
}

void NbdConnection::ask_facts(const NbdClientOptions& options) {
  const std::int64_t size = nbd_.get_size(handle_);
  if (size < 0) throw last_nbd_error(nbd_);
  facts_.size_bytes = static_cast<std::uint64_t>(size);
  // 0: the server does not say.
  const std::int64_t block = nbd_.get_block_size(handle_, LIBNBD_SIZE_MINIMUM);
  if (block > 0) facts_.block_bytes_min = static_cast<std::uint32_t>(block);
  if (!std::has_single_bit(facts_.block_bytes_min)) {
    throw Error(
        Errc::unsupported,
        fmt::format("the server's minimum block size {} is no power of 2", facts_.block_bytes_min));
  }
  const std::int64_t payload = nbd_.get_block_size(handle_, LIBNBD_SIZE_MAXIMUM);
  if (payload > 0) {
    facts_.payload_bytes_max = std::clamp<std::uint64_t>(
        static_cast<std::uint64_t>(payload), facts_.block_bytes_min, facts_.payload_bytes_max);
  }
  facts_.is_read_only = nbd_.is_read_only(handle_) > 0;
  facts_.can_flush = nbd_.can_flush(handle_) > 0;
  facts_.can_trim = nbd_.can_trim(handle_) > 0;
  facts_.can_zero = nbd_.can_zero(handle_) > 0;
  facts_.can_fast_zero = nbd_.can_fast_zero(handle_) > 0;
  facts_.can_multi_conn = nbd_.can_multi_conn(handle_) > 0;
  facts_.has_status = nbd_.can_meta_context(handle_, context_of(options).c_str()) > 0;
  if (options.meta_context && !facts_.has_status) throw os_error(EINVAL, "Could not open image");
}

int NbdConnection::run(std::span<NbdRequest> requests) {
  Batch batch;
  const MutexLock lock(mutex_);
  in_flight_ += requests.size();
  for (NbdRequest& request : requests) {
    request.batch_ = &batch;
    ++batch.left;
    const int error = is_lost_ ? ENOTCONN : submit(request);
    if (error == 0) continue;
    --batch.left;
    if (batch.error == 0) batch.error = error;
    break;
  }
  notice_loss();
  // The socket may have taken less than all: then who waits has to wait for more than answers.
  if (has_waiter_ && (nbd_.aio_get_direction(handle_) & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
    interrupt_waiter();
  }
  while (batch.left > 0) {
    if (has_waiter_) {
      sleep(batch);
    } else {
      wait_on_socket();
    }
  }
  in_flight_ -= requests.size();
  if (!has_waiter_) wake_another();
  return batch.error;
}

int NbdConnection::submit(NbdRequest& request) {
  const nbd_completion_callback done{on_answer, &request, nullptr};
  std::int64_t cookie = -1;
  switch (request.kind) {
    case NbdRequest::Kind::read:
      request.covered_bytes_ = 0;
      request.ahead_.clear();
      cookie =
          nbd_.aio_pread_structured(handle_, request.bytes, request.length_bytes, request.offset,
                                    {on_part, &request, nullptr}, done, request.flags);
      break;
    case NbdRequest::Kind::write:
      cookie = nbd_.aio_pwrite(handle_, request.bytes, request.length_bytes, request.offset, done,
                               request.flags);
      break;
    case NbdRequest::Kind::flush:
      cookie = nbd_.aio_flush(handle_, done, request.flags);
      break;
    case NbdRequest::Kind::trim:
      cookie = nbd_.aio_trim(handle_, request.length_bytes, request.offset, done, request.flags);
      break;
    case NbdRequest::Kind::zero:
      cookie = nbd_.aio_zero(handle_, request.length_bytes, request.offset, done, request.flags);
      break;
    case NbdRequest::Kind::status:
      cookie = nbd_.aio_block_status(handle_, request.length_bytes, request.offset,
                                     {on_status, &request, nullptr}, done, request.flags);
      break;
  }
  return cookie < 0 ? last_errno(nbd_) : 0;
}

void NbdConnection::sleep(Batch& batch) {
  sleepers_.push_back(&batch);
  batch.is_asleep = true;
  while (batch.is_asleep) batch.woken.wait(mutex_);
  std::erase(sleepers_, &batch);
}

void NbdConnection::wake_another() {
  for (Batch* const sleeper : sleepers_) {
    if (!sleeper->is_asleep) return;  // it is on its way to look after the socket
  }
  if (sleepers_.empty()) return;
  sleepers_.front()->is_asleep = false;
  sleepers_.front()->woken.notify_one();
}

void NbdConnection::interrupt_waiter() noexcept {
  const std::uint64_t one = 1;
  // Fails only where the event is set already.
  static_cast<void>(!::write(wake_fd_, &one, sizeof(one)));
}

void NbdConnection::wait_on_socket() {
  const unsigned wanted = nbd_.aio_get_direction(handle_);
  const int events = ((wanted & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                     ((wanted & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0);
  pollfd fds[] = {{nbd_.aio_get_fd(handle_), static_cast<short>(events), 0}, {wake_fd_, POLLIN, 0}};
  has_waiter_ = true;
  mutex_.unlock();
  const int ready = ::poll(fds, 2, -1);
  mutex_.lock();
  has_waiter_ = false;
  if (ready > 0) {
    std::uint64_t count = 0;
    if (fds[1].revents != 0) static_cast<void>(!::read(wake_fd_, &count, sizeof(count)));
    const unsigned now = nbd_.aio_get_direction(handle_);
    const bool may_read = (now & LIBNBD_AIO_DIRECTION_READ) != 0;
    const bool may_write = (now & LIBNBD_AIO_DIRECTION_WRITE) != 0;
    const int broken = fds[0].revents & (POLLERR | POLLHUP | POLLNVAL);
    if (may_read && ((fds[0].revents & POLLIN) != 0 || broken != 0)) {
      nbd_.aio_notify_read(handle_);
    } else if (may_write && ((fds[0].revents & POLLOUT) != 0 || broken != 0)) {
      nbd_.aio_notify_write(handle_);
    }
  }
  notice_loss();
}

/// All that was under way has been answered with an error then.
void NbdConnection::notice_loss() {
  if (nbd_.aio_is_dead(handle_) > 0 || nbd_.aio_is_closed(handle_) > 0) is_lost_ = true;
}

int NbdConnection::on_part(void* user_data, const void* /*bytes*/, std::size_t count,
                           std::uint64_t offset, unsigned status, int* /*error*/) {
  if (status == LIBNBD_READ_DATA || status == LIBNBD_READ_HOLE) {
    static_cast<NbdRequest*>(user_data)->note(offset, count);
  }
  return 0;
}

int NbdConnection::on_answer(void* user_data, int* error) {
  auto& request = *static_cast<NbdRequest*>(user_data);
  auto& batch = *static_cast<Batch*>(request.batch_);
  const bool is_short = request.kind == NbdRequest::Kind::read && !request.is_covered();
  if (batch.error == 0) batch.error = *error != 0 ? *error : is_short ? EPROTO : 0;
  if (--batch.left == 0 && batch.is_asleep) {
    batch.is_asleep = false;
    batch.woken.notify_one();
  }
  return 1;  // libnbd may forget the request
}

int NbdConnection::on_status(void* user_data, const char* /*context*/, std::uint64_t /*offset*/,
                             std::uint32_t* entries, std::size_t count, int* /*error*/) {
  auto& request = *static_cast<NbdRequest*>(user_data);
  request.status.assign(entries, entries + std::min(count, 2 * kStatusExtentsMax));
  return 0;
}

bool NbdConnection::is_lost() {
  const MutexLock lock(mutex_);
  return is_lost_;
}

std::size_t NbdConnection::in_flight() {
  const MutexLock lock(mutex_);
  return in_flight_;
}

void NbdConnection::disconnect() {
  const MutexLock lock(mutex_);
  if (!is_lost_) nbd_.shutdown(handle_, 0);
  is_lost_ = true;
}

}  // namespace qcowkit
