// The driver "nbd": bytes that a server of the network block device protocol has.
#include "storage/nbd_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/block_aligned_storage.h"
#include "storage/group_flush.h"
#include "storage/iovec_cursor.h"
#include "storage/nbd_connection.h"
#include "storage/nbd_extents.h"

namespace qcowkit {

namespace {

using Clock = std::chrono::steady_clock;
using Kind = NbdRequest::Kind;

constexpr auto kRetryInterval = std::chrono::milliseconds(100);
/// Another connection is opened where each has so many requests under way.
constexpr std::size_t kBusyRequests = 8;
/// A request without payload reaches at most so far: its length has 32 bits.
constexpr std::uint64_t kLengthMax = 1 << 30;
constexpr std::uint64_t kZeroBufferBytes = 1 << 20;

/// True where it may help to wait: nobody listens yet, or the server is on its way out.
bool may_pass(const Error& error) {
  return error.code() == std::errc::connection_refused ||
         error.code() == std::errc::no_such_file_or_directory ||
         error.code() == std::errc::connection_reset || error.code() == std::errc::broken_pipe ||
         error.code() == std::errc::not_connected || error.code() == std::errc::timed_out ||
         error.code() == std::errc::host_unreachable ||
         error.code() == std::errc::network_unreachable;
}

/// Tries at least once, and again until the deadline.
std::shared_ptr<NbdConnection> connect(const NbdClientOptions& options,
                                       Clock::time_point deadline) {
  for (;;) {
    try {
      return std::make_shared<NbdConnection>(options);
    } catch (const Error& error) {
      if (!may_pass(error) || Clock::now() + kRetryInterval > deadline) throw;
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
}

class NbdStorage final : public Storage {
 public:
  explicit NbdStorage(const NbdClientOptions& options)
      : options_(options),
        connections_{
            connect(options, Clock::now() + std::chrono::seconds(options.open_timeout_seconds))},
        facts_(connections_.front()->facts()) {
    if (!options.read_only && facts_.is_read_only) {
      throw Error(std::make_error_code(std::errc::permission_denied),
                  fmt::format("{}: the server offers it for reading only", options_.name));
    }
  }

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override;
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override { return facts_.size_bytes; }
  std::uint64_t allocated_bytes() const override { return 0; }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override { return false; }
  std::uint32_t alignment() const noexcept override { return facts_.block_bytes_min; }
  bool is_read_only() const noexcept override { return options_.read_only; }
  const std::string& name() const noexcept override { return options_.name; }
  void close() override;

 private:
  void add_transfer(Kind kind, std::uint64_t host_offset, std::span<std::byte> bytes,
                    std::vector<NbdRequest>& requests) const;
  int run(std::span<NbdRequest> requests, bool changes) const;
  std::shared_ptr<NbdConnection> choose() const EXCLUDES(mutex_);
  void replace(const std::shared_ptr<NbdConnection>& lost) const EXCLUDES(mutex_);
  int run_without_payload(Kind kind, std::uint64_t host_offset, std::uint64_t length_bytes,
                          std::uint32_t flags);
  void write_zero_buffers(std::uint64_t host_offset, std::uint64_t length_bytes);
  void require_writable(std::uint64_t host_offset, std::uint64_t length_bytes) const;
  [[noreturn]] void fail(int error, std::string_view operation, std::uint64_t host_offset,
                         std::uint64_t length_bytes) const;

  // Constant after construction.
  const NbdClientOptions options_;
  mutable Mutex mutex_;
  mutable std::vector<std::shared_ptr<NbdConnection>> connections_ GUARDED_BY(mutex_);
  mutable std::optional<Clock::time_point> lost_since_ GUARDED_BY(mutex_);
  const NbdFacts facts_;

  mutable NbdExtents extents_;
  mutable std::atomic<std::uint64_t> writes_ = 0;  ///< that the server has acknowledged
  std::atomic<std::uint64_t> flushed_writes_ = 0;
  mutable std::atomic<bool> has_lost_writes_ = false;
  GroupFlush group_flush_;
};

void NbdStorage::fail(int error, std::string_view operation, std::uint64_t host_offset,
                      std::uint64_t length_bytes) const {
  throw os_error(error, fmt::format("{}: {} {} bytes at offset {}", options_.name, operation,
                                    length_bytes, host_offset));
}

void NbdStorage::require_writable(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  if (options_.read_only) {
    throw Error(Errc::read_only, fmt::format("{}: is open for reading only", options_.name));
  }
  if (length_bytes <= facts_.size_bytes && host_offset <= facts_.size_bytes - length_bytes) return;
  fail(ENOSPC, "write", host_offset, length_bytes);
}

/// The connection with the fewest requests; a new one where all are busy.
std::shared_ptr<NbdConnection> NbdStorage::choose() const {
  const MutexLock lock(mutex_);
  std::shared_ptr<NbdConnection> best = connections_.front();
  if (!facts_.can_multi_conn) return best;
  std::size_t fewest = best->in_flight();
  for (const auto& connection : connections_) {
    if (fewest == 0) return best;
    if (const std::size_t count = connection->in_flight(); count < fewest) {
      best = connection;
      fewest = count;
    }
  }
  if (fewest < kBusyRequests || connections_.size() >= options_.connections_max) return best;
  try {
    connections_.push_back(std::make_shared<NbdConnection>(options_));
    return connections_.back();
  } catch (const Error&) {
    return best;  // the server may let in no more clients; those that are there will do
  }
}

/// Makes a lost connection again. Throws where that takes too long, or the export is another. The
/// time counts from the loss: when it is over, requests fail at once until the server is back.
void NbdStorage::replace(const std::shared_ptr<NbdConnection>& lost) const {
  const MutexLock lock(mutex_);
  const auto place = std::find(connections_.begin(), connections_.end(), lost);
  if (place == connections_.end()) return;  // somebody else has
  if (!lost_since_) lost_since_ = Clock::now();
  std::shared_ptr<NbdConnection> connection =
      connect(options_, *lost_since_ + std::chrono::seconds(options_.reconnect_delay_seconds));
  if (connection->facts().size_bytes != facts_.size_bytes) {
    throw Error(Errc::in_use,
                fmt::format("{}: the server has come back with another size", options_.name));
  }
  lost_since_.reset();
  *place = std::move(connection);
}

/// Returns 0 or an errno.
int NbdStorage::run(std::span<NbdRequest> requests, bool changes) const {
  if (requests.empty()) return 0;
  for (;;) {
    const std::shared_ptr<NbdConnection> connection = choose();
    const int error = connection->run(requests);
    if (changes && error == 0) ++writes_;
    if (error == 0 || !connection->is_lost()) return error;
    // What the server had acknowledged may not outlive it.
    if (writes_ != flushed_writes_) has_lost_writes_ = true;
    if (options_.reconnect_delay_seconds == 0) return error;
    replace(connection);
  }
}

void NbdStorage::add_transfer(Kind kind, std::uint64_t host_offset, std::span<std::byte> bytes,
                              std::vector<NbdRequest>& requests) const {
  while (!bytes.empty()) {
    const std::size_t length = std::min<std::uint64_t>(bytes.size(), facts_.payload_bytes_max);
    NbdRequest request;
    request.kind = kind;
    request.offset = host_offset;
    request.length_bytes = length;
    request.bytes = bytes.data();
    requests.push_back(request);
    host_offset += length;
    bytes = bytes.subspan(length);
  }
}

void NbdStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  std::vector<NbdRequest> requests;
  IovecCursor cursor(into);
  std::uint64_t at = host_offset;
  while (cursor.remaining() > 0 && at < facts_.size_bytes) {
    const std::span<std::byte> piece = cursor.take(facts_.size_bytes - at);
    add_transfer(Kind::read, at, piece, requests);
    at += piece.size();
  }
  cursor.fill_zero(cursor.remaining());
  if (const int error = run(requests, false)) fail(error, "read", host_offset, total_bytes(into));
}

void NbdStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const std::uint64_t length = total_bytes(from);
  require_writable(host_offset, length);
  std::vector<NbdRequest> requests;
  IovecCursor cursor(from);
  for (std::uint64_t at = host_offset; cursor.remaining() > 0;) {
    const std::span<std::byte> piece = cursor.take(cursor.remaining());
    add_transfer(Kind::write, at, piece, requests);
    at += piece.size();
  }
  const NbdExtents::Change change(extents_);
  if (const int error = run(requests, true)) fail(error, "write", host_offset, length);
}

int NbdStorage::run_without_payload(Kind kind, std::uint64_t host_offset,
                                    std::uint64_t length_bytes, std::uint32_t flags) {
  const NbdExtents::Change change(extents_);
  while (length_bytes > 0) {
    NbdRequest request;
    request.kind = kind;
    request.offset = host_offset;
    request.length_bytes = std::min(length_bytes, kLengthMax);
    request.flags = flags;
    if (const int error = run({&request, 1}, true)) return error;
    host_offset += request.length_bytes;
    length_bytes -= request.length_bytes;
  }
  return 0;
}

bool NbdStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                              ZeroOptions options) {
  require_writable(host_offset, length_bytes);
  if (!facts_.can_zero || (options.no_fallback && !facts_.can_fast_zero)) {
    if (options.no_fallback) return false;
    write_zero_buffers(host_offset, length_bytes);
    return true;
  }
  const std::uint32_t flags = (options.may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE) |
                              (options.no_fallback ? LIBNBD_CMD_FLAG_FAST_ZERO : 0);
  const int error = run_without_payload(Kind::zero, host_offset, length_bytes, flags);
  if (options.no_fallback && (error == ENOTSUP || error == EINVAL)) return false;
  if (error != 0) fail(error, "write zeroes to", host_offset, length_bytes);
  return true;
}

void NbdStorage::write_zero_buffers(std::uint64_t host_offset, std::uint64_t length_bytes) {
  Buffer zeroes(std::min(length_bytes, kZeroBufferBytes));
  std::fill(zeroes.span().begin(), zeroes.span().end(), std::byte{0});
  while (length_bytes > 0) {
    const std::uint64_t length = std::min<std::uint64_t>(length_bytes, zeroes.size());
    write(host_offset, zeroes.span().first(length));
    host_offset += length;
    length_bytes -= length;
  }
}

void NbdStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  if (options_.read_only) require_writable(host_offset, length_bytes);
  if (!facts_.can_trim || host_offset >= facts_.size_bytes) return;
  // It is a hint: parts of blocks are left out.
  const std::uint64_t block = facts_.block_bytes_min;
  const std::uint64_t end = std::min(facts_.size_bytes - host_offset, length_bytes) + host_offset;
  const std::uint64_t first = align_up(host_offset, block);
  const std::uint64_t last = align_down(end, block);
  if (first >= last) return;
  const int error = run_without_payload(Kind::trim, first, last - first, 0);
  if (error == EIO || error == ENOTCONN) fail(error, "discard", host_offset, length_bytes);
}

void NbdStorage::flush() {
  const int error = group_flush_([this] {
    const std::uint64_t covered = writes_;
    try {
      NbdRequest request;
      request.kind = Kind::flush;
      int result = 0;
      if (facts_.can_flush && !has_lost_writes_) result = run({&request, 1}, false);
      if (result != 0 || has_lost_writes_) return EIO;
    } catch (const std::exception&) {
      return EIO;
    }
    flushed_writes_ = covered;
    return 0;
  });
  if (error != 0) throw os_error(error, fmt::format("{}: flush", options_.name));
}

void NbdStorage::resize(std::uint64_t new_size_bytes, Preallocation /*preallocation*/) {
  if (new_size_bytes <= facts_.size_bytes) return;
  throw Error(std::make_error_code(std::errc::no_space_on_device),
              fmt::format("{}: Cannot grow an NBD export of {} bytes to {}", options_.name,
                          facts_.size_bytes, new_size_bytes));
}

StorageExtent NbdStorage::extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const {
  if (host_offset >= facts_.size_bytes) return {length_bytes, true};
  length_bytes = std::min(length_bytes, facts_.size_bytes - host_offset);
  if (!facts_.has_status) return {length_bytes, false};
  if (const auto known = extents_.find(host_offset, length_bytes)) return *known;
  const NbdExtents::Question question(extents_);
  NbdRequest request;
  request.kind = Kind::status;
  // Answers tell of many extents: the next questions will not have to be asked.
  request.offset = align_down(host_offset, facts_.block_bytes_min);
  request.length_bytes = std::min(kLengthMax, facts_.size_bytes - request.offset);
  const int error = run({&request, 1}, false);
  if (error == ENOTCONN || error == EIO) fail(error, "block status of", host_offset, length_bytes);
  // Whoever cannot tell has data.
  if (error != 0 || request.status.size() < 2) return {length_bytes, false};
  return question.answer(request.offset, request.status, host_offset, length_bytes);
}

void NbdStorage::close() {
  const MutexLock lock(mutex_);
  for (const auto& connection : connections_) connection->disconnect();
}

}  // namespace

std::unique_ptr<Storage> open_nbd_storage(const NbdClientOptions& options) {
  auto storage = std::make_unique<NbdStorage>(options);
  const std::uint32_t block_bytes = storage->alignment();
  if (block_bytes == 1) return storage;
  return make_block_aligned_storage(std::move(storage), block_bytes);
}

}  // namespace qcowkit
