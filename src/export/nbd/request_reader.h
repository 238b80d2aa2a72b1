// Requests, taken from the stream of bytes that a client sends.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "export/nbd/memory_budget.h"
#include "export/nbd/request.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

/// Memory that requests came in, and how many of those whose payloads lie there are not done yet.
struct ReceivedBytes {
  explicit ReceivedBytes(std::size_t size_bytes) : memory(size_bytes) {}

  Buffer memory;
  MemoryBudget::Share share;  ///< of memory for one large payload
  std::atomic<std::uint32_t> users{0};
};

/// Keeps a payload's bytes as they are while it lives.
class PayloadHold {
 public:
  PayloadHold() = default;
  explicit PayloadHold(std::shared_ptr<ReceivedBytes> bytes) noexcept : bytes_(std::move(bytes)) {
    bytes_->users.fetch_add(1, std::memory_order_relaxed);
  }
  PayloadHold(PayloadHold&& other) noexcept : bytes_(std::move(other.bytes_)) {}
  PayloadHold& operator=(PayloadHold&& other) noexcept {
    bytes_.swap(other.bytes_);
    return *this;
  }
  ~PayloadHold() {
    if (bytes_) bytes_->users.fetch_sub(1, std::memory_order_release);
  }

 private:
  std::shared_ptr<ReceivedBytes> bytes_;
};

/// A request with all that belongs to it.
struct Incoming {
  Request request;
  /// `check_request`'s answer, or what became of a payload that has been written already.
  WireError refusal = WireError::none;
  std::span<const std::byte> payload;  ///< none of what is refused, or has been written already
  PayloadHold hold;
};

/// Takes as many requests as have arrived from one system call. For one thread at a time; what it
/// has given out may be used by others meanwhile.
class RequestReader {
 public:
  /// Given out by one `read` at most.
  static constexpr std::size_t kRequestsMax = 128;
  static constexpr std::size_t kBufferBytesMin = 16 * 1024;
  static constexpr std::size_t kBufferBytesMax = 256 * 1024;

  /// Writes the bytes of a request's payload that begin at `at`.
  using WritePiece = std::function<WireError(const Request& request, std::uint64_t at,
                                             std::span<const std::byte> bytes)>;

  /// `transport`, `budget` and `draining` outlive it. While `draining`, only what has arrived is
  /// still read. Large payloads that the server has no memory for go to `write_piece` bit by bit.
  RequestReader(NbdTransport& transport, const Rules& rules, MemoryBudget& budget,
                const std::atomic<bool>& draining, WritePiece write_piece)
      : transport_(transport),
        rules_(rules),
        budget_(budget),
        draining_(draining),
        write_piece_(std::move(write_piece)) {}

  /// Waits for requests and appends them: at least one, unless no more will come. Throws `Error` if
  /// the connection broke or the client sent what is no request; that is its end, too.
  ///
  /// If nothing comes for a while, memory is given back, also the caller's `spare`. `is_alone`: no
  /// other thread of the connection has anything to do, so looking out for requests takes nothing
  /// from it.
  void read(std::vector<Incoming>& into, Buffer& spare, bool is_alone = false);
  /// More has arrived than has been given out.
  bool has_more() const noexcept { return arrived() > 0 || transport_.has_bytes(); }
  /// No more will come.
  bool is_at_end() const noexcept { return is_at_end_; }

 private:
  /// What is done with payload bytes that have not arrived yet.
  struct Unfinished {
    Incoming incoming;
    std::shared_ptr<ReceivedBytes> bytes;  ///< null: they are written at once, or skipped
    std::size_t missing_bytes = 0;
  };

  std::size_t arrived() const noexcept { return end_ - begin_; }
  void take_arrived(std::vector<Incoming>& into);
  /// The next request in the buffer; false if there is none that is complete, or can be begun.
  bool take_one(std::vector<Incoming>& into);
  bool take_payload(Incoming&& incoming, std::vector<Incoming>& into);
  void begin_apart(Incoming&& incoming);
  /// Null if the server has no memory for it.
  std::shared_ptr<ReceivedBytes> memory_apart(std::size_t bytes);
  /// The next bytes of the unfinished payload have arrived where they will not stay.
  void take_piece(std::span<const std::byte> bytes);
  void finish_apart(std::vector<Incoming>& into);

  /// Waits a moment for bytes without going to sleep.
  void look_out() noexcept;
  /// One system call's bytes.
  void receive(Buffer& spare);
  /// Where the next bytes go.
  std::span<std::byte> room();
  void make_room();
  void rest(Buffer& spare);

  NbdTransport& transport_;
  const Rules rules_;
  MemoryBudget& budget_;
  const std::atomic<bool>& draining_;
  const WritePiece write_piece_;

  bool is_at_end_ = false;
  bool is_drained_ = false;  ///< what is in the buffer is all that will be looked at
  std::shared_ptr<ReceivedBytes> buffer_;
  std::size_t begin_ = 0;  ///< of the bytes not taken yet
  std::size_t end_ = 0;
  std::size_t wanted_bytes_ = kBufferBytesMin;  ///< the next buffer's size
  bool was_apart_ = false;                      ///< the last request that came
  std::uint32_t looks_to_skip_ = 0;
  std::uint32_t looks_skipped_ = 0;  ///< before the last one that was in vain
  std::optional<Unfinished> unfinished_;
  /// Memory of large payloads, to be used again: having it anew costs more than filling it.
  std::vector<std::shared_ptr<ReceivedBytes>> apart_;
};

}  // namespace qcowkit::nbd
