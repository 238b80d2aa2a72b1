// Replies, from headers to data, in a buffer that is sent when it is full or the work at hand is
// done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "base/buffer.h"
#include "export/nbd/block_status.h"
#include "export/nbd/memory_budget.h"
#include "export/nbd/request.h"

namespace qcowkit::nbd {

/// Where replies go.
class ReplySink {
 public:
  virtual ~ReplySink() = default;
  /// Sends all of it, apart from what other threads send. Does not throw: where nobody listens any
  /// more, there is nothing to be done but to go on.
  virtual void send(std::span<const iovec> from) noexcept = 0;

  /// True where bytes of files are best sent from there.
  virtual bool sends_files() const noexcept { return false; }
  /// Bytes of a file.
  struct FilePiece {
    int descriptor;
    std::uint64_t offset;
    std::uint64_t length_bytes;
    std::uint64_t sent_bytes = 0;  ///< of them, when it was tried
  };
  struct Piece {
    std::span<const iovec> bytes;
    FilePiece* file = nullptr;  ///< what comes behind them
  };
  /// The next bytes; empty: that was all. Nothing: it cannot be gone on with, not even by others.
  using NextPiece = std::function<std::optional<Piece>()>;
  /// Sends one piece after the other, apart from what other threads send. `next` does not throw.
  virtual void send_pieces(const NextPiece& next) noexcept = 0;
};

/// Writes the replies to one request after the other. For one thread.
class ReplyWriter {
 public:
  /// Data that fit into one piece of the buffer.
  static constexpr std::uint32_t kPieceBytes = 256 * 1024;

  /// `memory` is a worker's buffer: had where it is empty, and kept for the next writer. Between
  /// `flush` and the next reply it may be taken away.
  ReplyWriter(Style style, ReplySink& sink, Buffer& memory, MemoryBudget& budget);

  /// The request is done, and there is nothing else to say.
  void acknowledge(const Request& request);
  /// Data that were begun for it are dropped; chunks that are complete stay.
  void fail(const Request& request, WireError error);

  /// Makes room for `length_bytes` of a read request's data from `offset` on. More than
  /// `kPieceBytes` go into memory of their own; where the server has none left, the room is empty
  /// and nothing begun. Otherwise `end_data`, `drop_data` or `fail` follow.
  std::span<std::byte> begin_data(const Request& request, std::uint64_t offset,
                                  std::uint32_t length_bytes);
  /// The data are there. `is_last`: nothing else follows for this request.
  void end_data(bool is_last);
  void drop_data() noexcept;

  /// Reads the bytes from `offset` on.
  using ReadPiece = std::function<void(std::uint64_t offset, std::span<std::byte> into)>;
  /// All data of a read request, in one chunk, of which only a piece is in memory at a time. What
  /// `read` throws is passed on where the client can still be told of it, and otherwise ends the
  /// connection.
  void stream_data(const Request& request, const ReadPiece& read);

  bool sends_files() const noexcept { return sink_.sends_files(); }
  /// A part of a read request's data that lies in a file, which sends it. What that does not have
  /// after all is read; where that fails, too, the connection ends, and what `read` throws is
  /// passed on.
  void send_file(const Request& request, std::uint64_t offset, ReplySink::FilePiece file,
                 bool is_last, const ReadPiece& read);

  /// A part of a read request that reads as zeroes. Not for simple replies.
  void hole(const Request& request, std::uint64_t offset, std::uint32_t length_bytes, bool is_last);
  /// Of one context. Not for simple replies.
  void status(const Request& request, std::uint32_t context_id,
              std::span<const StatusExtent> extents, bool is_last);

  /// Sends what has been written so far.
  void flush() noexcept;

 private:
  /// A reply's data that are being read.
  struct OpenData {
    const Request* request;
    std::uint64_t offset;
    std::uint32_t length_bytes;
  };

  std::size_t data_header_bytes() const noexcept;
  /// Makes sure that so much can be appended.
  void make_room(std::size_t bytes);
  template <typename Raw>
  void append(const Raw& raw) noexcept;
  void append_data_header(const OpenData& data, bool is_last) noexcept;
  /// The header of a chunk, in the style negotiated.
  void append_chunk(const Request& request, ReplyType type, std::uint64_t payload_bytes,
                    bool is_last) noexcept;

  const Style style_;
  ReplySink& sink_;
  Buffer& memory_;
  MemoryBudget& budget_;
  /// Where replies begin in the buffer: so that the data of the first are aligned, as storages that
  /// bypass the page cache want them.
  const std::size_t origin_;
  std::size_t used_bytes_ = 0;  ///< from there on
  std::optional<OpenData> open_;
  // Of data too large for the buffer.
  MemoryBudget::Share large_share_;
  Buffer large_;
};

}  // namespace qcowkit::nbd
