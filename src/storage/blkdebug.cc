// A storage that fails, delays or splits requests by rules.
#include "storage/blkdebug.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "qcowkit/error.h"
#include "storage/blkdebug_rules.h"
#include "storage/block_aligned_storage.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kLengthEnd = std::uint64_t{1} << 31;  // the reference's

void require(bool fits, std::string_view option, std::uint64_t value) {
  if (fits) return;
  throw Error(Errc::invalid_argument,
              fmt::format("Cannot meet constraints with {} {}", option, value));
}

/// Throws `Error` where a length does not fit the others.
void require_consistent(const BlkdebugOptions& options) {
  const std::uint64_t unit = std::max<std::uint64_t>(options.align, 1);
  const auto is_multiple = [](std::uint64_t value, std::uint64_t of) {
    return value < kLengthEnd && value % of == 0;
  };
  require(options.align == 0 || (options.align < kLengthEnd && std::has_single_bit(options.align)),
          "align", options.align);
  require(is_multiple(options.max_transfer, unit), "max-transfer", options.max_transfer);
  require(is_multiple(options.opt_write_zero, unit), "opt-write-zero", options.opt_write_zero);
  require(is_multiple(options.max_write_zero, std::max(options.opt_write_zero, unit)),
          "max-write-zero", options.max_write_zero);
  require(is_multiple(options.opt_discard, unit), "opt-discard", options.opt_discard);
  require(is_multiple(options.max_discard, std::max(options.opt_discard, unit)), "max-discard",
          options.max_discard);
}

class Blkdebug final : public BlockAlignedStorage {
 public:
  Blkdebug(std::unique_ptr<Storage> child, const BlkdebugOptions& options)
      : BlockAlignedStorage(std::move(child), block_bytes(options),
                            std::max(options.opt_write_zero, block_bytes(options))),
        max_transfer_(options.max_transfer),
        max_write_zero_(options.max_write_zero),
        max_discard_(options.max_discard),
        rules_(options) {
    rules_.set_next(this->child().listener());
    // The child keeps its own: NOLINTNEXTLINE(bugprone-parent-virtual-call)
    Storage::set_listener(&rules_);
  }

  void set_listener(EventListener* listener) noexcept override {
    child().set_listener(listener);
    rules_.set_next(listener);
  }
  Breakpoints* breakpoints() noexcept override { return &rules_; }

  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override {
    require_success(BlkdebugIoType::flush, 0, 0);
    BlockAlignedStorage::flush();
  }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    require_success(BlkdebugIoType::block_status, host_offset, length_bytes);
    return BlockAlignedStorage::extent_at(host_offset, length_bytes);
  }

 protected:
  void read_whole(std::uint64_t host_offset, std::span<const iovec> into) override;
  void write_whole(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool zero_whole(std::uint64_t host_offset, std::uint64_t length_bytes,
                  ZeroOptions options) override;
  /// The events of its own requests are for the rules alone.
  void come_to(Event event, std::uint64_t /*host_offset*/,
               std::uint64_t /*length_bytes*/) override {
    rules_.come_to(event);
  }

 private:
  static std::uint64_t block_bytes(const BlkdebugOptions& options) {
    return std::max<std::uint64_t>(options.align, 1);
  }
  void require_success(BlkdebugIoType type, std::uint64_t host_offset,
                       std::uint64_t length_bytes) const {
    if (const int error = rules_.judge(type, host_offset, length_bytes)) {
      throw os_error(error, child().name());
    }
  }
  template <typename Move>
  void transfer(std::uint64_t host_offset, std::span<const iovec> buffers, Move move) const;

  // Constant after construction.
  const std::uint64_t max_transfer_;
  const std::uint64_t max_write_zero_;
  const std::uint64_t max_discard_;

  mutable BlkdebugRules rules_;
};

/// Calls `move` for pieces of at most `max_bytes` (0: no limit), with where each is and its length.
template <typename Move>
void for_each_piece(std::uint64_t host_offset, std::uint64_t length_bytes, std::uint64_t max_bytes,
                    Move move) {
  while (length_bytes > 0) {
    const std::uint64_t piece = max_bytes == 0 ? length_bytes : std::min(length_bytes, max_bytes);
    move(host_offset, piece);
    host_offset += piece;
    length_bytes -= piece;
  }
}

/// The same for pieces of buffers, at most `max_transfer_` bytes each.
template <typename Move>
void Blkdebug::transfer(std::uint64_t host_offset, std::span<const iovec> buffers,
                        Move move) const {
  IovecCursor cursor(buffers);
  if (max_transfer_ == 0 || cursor.remaining() <= max_transfer_) return move(host_offset, buffers);
  std::vector<iovec> pieces;
  for_each_piece(host_offset, cursor.remaining(), max_transfer_,
                 [&](std::uint64_t at, std::uint64_t bytes) {
                   pieces.clear();
                   while (bytes > 0) {
                     const std::span<std::byte> part = cursor.take(bytes);
                     pieces.push_back({part.data(), part.size()});
                     bytes -= part.size();
                   }
                   move(at, std::span<const iovec>(pieces));
                 });
}

void Blkdebug::read_whole(std::uint64_t host_offset, std::span<const iovec> into) {
  transfer(host_offset, into, [this](std::uint64_t at, std::span<const iovec> piece) {
    require_success(BlkdebugIoType::read, at, total_bytes(piece));
    child().readv(at, piece);
  });
}

void Blkdebug::write_whole(std::uint64_t host_offset, std::span<const iovec> from) {
  rules_.come_to(Event::pwritev);
  transfer(host_offset, from, [this](std::uint64_t at, std::span<const iovec> piece) {
    require_success(BlkdebugIoType::write, at, total_bytes(piece));
    child().writev(at, piece);
  });
  rules_.come_to(Event::pwritev_done);
}

bool Blkdebug::zero_whole(std::uint64_t host_offset, std::uint64_t length_bytes,
                          ZeroOptions options) {
  bool is_done = true;
  for_each_piece(host_offset, length_bytes, max_write_zero_,
                 [&](std::uint64_t at, std::uint64_t bytes) {
                   if (!is_done) return;
                   require_success(BlkdebugIoType::write_zeroes, at, bytes);
                   is_done = child().write_zeroes(at, bytes, options);
                 });
  return is_done;
}

bool Blkdebug::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                            ZeroOptions options) {
  const bool is_refused = options.no_fallback && !are_whole_zero_blocks(host_offset, length_bytes);
  if (length_bytes == 0 || is_refused) {
    return BlockAlignedStorage::write_zeroes(host_offset, length_bytes, options);
  }
  rules_.come_to(Event::pwritev_zero);
  if (!BlockAlignedStorage::write_zeroes(host_offset, length_bytes, options)) return false;
  rules_.come_to(Event::pwritev_done);
  return true;
}

void Blkdebug::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  for_each_piece(host_offset, length_bytes, max_discard_,
                 [this](std::uint64_t at, std::uint64_t bytes) {
                   require_success(BlkdebugIoType::discard, at, bytes);
                   BlockAlignedStorage::discard(at, bytes);
                 });
}

}  // namespace

std::unique_ptr<Storage> make_blkdebug(std::unique_ptr<Storage> child,
                                       const BlkdebugOptions& options) {
  require_consistent(options);
  return std::make_unique<Blkdebug>(std::move(child), options);
}

}  // namespace qcowkit
