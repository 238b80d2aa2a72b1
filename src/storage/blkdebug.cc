#include "storage/blkdebug.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/buffer.h"
#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/blkdebug_rules.h"
#include "storage/iovec_cursor.h"
#include "storage/range_lock.h"

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

class Blkdebug final : public Storage {
 public:
  Blkdebug(std::unique_ptr<Storage> child, const BlkdebugOptions& options)
      : child_(std::move(child)),
        align_(std::max<std::uint64_t>(options.align, 1)),
        max_transfer_(options.max_transfer),
        zero_unit_(std::max(options.opt_write_zero, align_)),
        max_write_zero_(options.max_write_zero),
        max_discard_(options.max_discard),
        rules_(options) {
    rules_.set_next(child_->listener());
    Storage::set_listener(&rules_);
  }

  void set_listener(EventListener* listener) noexcept override {
    child_->set_listener(listener);
    rules_.set_next(listener);
  }
  Breakpoints* breakpoints() noexcept override { return &rules_; }

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override {
    require_success(BlkdebugIoType::flush, 0, 0);
    child_->flush();
  }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    child_->resize(new_size_bytes, preallocation);
  }
  std::uint64_t size() const override { return child_->size(); }
  std::uint64_t allocated_bytes() const override { return child_->allocated_bytes(); }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    require_success(BlkdebugIoType::block_status, host_offset, length_bytes);
    return child_->extent_at(host_offset, length_bytes);
  }
  bool can_grow() const noexcept override { return child_->can_grow(); }
  std::uint32_t alignment() const noexcept override {
    return std::max(child_->alignment(), static_cast<std::uint32_t>(align_));
  }
  bool is_read_only() const noexcept override { return child_->is_read_only(); }
  const std::string& name() const noexcept override { return child_->name(); }
  void close() override { child_->close(); }

 private:
  void require_success(BlkdebugIoType type, std::uint64_t host_offset,
                       std::uint64_t length_bytes) const {
    if (const int error = rules_.judge(type, host_offset, length_bytes)) {
      throw os_error(error, child_->name());
    }
  }
  bool is_aligned_range(std::uint64_t host_offset, std::uint64_t length_bytes) const noexcept {
    return host_offset % align_ == 0 && length_bytes % align_ == 0;
  }
  void transfer(BlkdebugIoType type, std::uint64_t host_offset, std::span<const iovec> buffers);
  void write_padded(std::uint64_t host_offset, std::span<const iovec> from);
  void write_buffers_of_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes);

  // Constant after construction.
  const std::unique_ptr<Storage> child_;
  const std::uint64_t align_;
  const std::uint64_t max_transfer_;
  const std::uint64_t zero_unit_;
  const std::uint64_t max_write_zero_;
  const std::uint64_t max_discard_;

  mutable BlkdebugRules rules_;
  RangeLock changes_;  // so that nobody changes what is read to complete a write
};

/// Reads or writes an aligned range in pieces of at most `max_transfer_` bytes.
void Blkdebug::transfer(BlkdebugIoType type, std::uint64_t host_offset,
                        std::span<const iovec> buffers) {
  const auto move = [&](std::uint64_t at, std::span<const iovec> piece) {
    require_success(type, at, total_bytes(piece));
    if (type == BlkdebugIoType::read) {
      child_->readv(at, piece);
    } else {
      child_->writev(at, piece);
    }
  };
  IovecCursor cursor(buffers);
  if (max_transfer_ == 0 || cursor.remaining() <= max_transfer_) return move(host_offset, buffers);
  std::vector<iovec> piece;
  while (cursor.remaining() > 0) {
    piece.clear();
    std::uint64_t bytes = 0;
    while (bytes < max_transfer_ && cursor.remaining() > 0) {
      const std::span<std::byte> part = cursor.take(max_transfer_ - bytes);
      piece.push_back({part.data(), part.size()});
      bytes += part.size();
    }
    move(host_offset, piece);
    host_offset += bytes;
  }
}

void Blkdebug::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const std::uint64_t length = total_bytes(into);
  if (is_aligned_range(host_offset, length)) {
    return transfer(BlkdebugIoType::read, host_offset, into);
  }
  const std::uint64_t first = align_down(host_offset, align_);
  Buffer bounce(align_up(host_offset + length, align_) - first);
  const iovec aligned{bounce.data(), bounce.size()};
  transfer(BlkdebugIoType::read, first, {&aligned, 1});
  IovecCursor(into).copy_in(bounce.span().subspan(host_offset - first, length));
}

void Blkdebug::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const std::uint64_t length = total_bytes(from);
  if (!is_aligned_range(host_offset, length)) return write_padded(host_offset, from);
  const RangeLock::Guard guard(changes_, host_offset, host_offset + length,
                               RangeLock::Mode::shared);
  rules_.come_to(Event::pwritev);
  transfer(BlkdebugIoType::write, host_offset, from);
  rules_.come_to(Event::pwritev_done);
}

/// Completes the first and the last unit of the range by what is there.
void Blkdebug::write_padded(std::uint64_t host_offset, std::span<const iovec> from) {
  const std::uint64_t end = host_offset + total_bytes(from);
  const std::uint64_t first = align_down(host_offset, align_);
  const std::uint64_t padded_end = align_up(end, align_);
  const RangeLock::Guard guard(changes_, first, padded_end, RangeLock::Mode::exclusive);
  Buffer bounce(padded_end - first);
  const auto read_unit = [&](std::uint64_t at, Event before, Event after) {
    const iovec unit{bounce.data() + (at - first), align_};
    rules_.come_to(before);
    transfer(BlkdebugIoType::read, at, {&unit, 1});
    rules_.come_to(after);
  };
  if (first != host_offset) {
    read_unit(first, Event::pwritev_rmw_head, Event::pwritev_rmw_after_head);
  }
  if (padded_end != end && (first == host_offset || padded_end - first > align_)) {
    read_unit(padded_end - align_, Event::pwritev_rmw_tail, Event::pwritev_rmw_after_tail);
  }
  IovecCursor(from).copy_out(bounce.span().subspan(host_offset - first, end - host_offset));
  // Padding does not make the storage grow.
  const std::uint64_t write_end = std::clamp(child_->size(), end, padded_end);
  const iovec padded{bounce.data(), write_end - first};
  rules_.come_to(Event::pwritev);
  transfer(BlkdebugIoType::write, first, {&padded, 1});
  rules_.come_to(Event::pwritev_done);
}

void Blkdebug::write_buffers_of_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes) {
  if (length_bytes == 0) return;
  Buffer zeroes(length_bytes);
  std::memset(zeroes.data(), 0, zeroes.size());
  const iovec buffer{zeroes.data(), zeroes.size()};
  writev(host_offset, {&buffer, 1});
}

bool Blkdebug::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                            ZeroOptions options) {
  if (length_bytes == 0) return child_->write_zeroes(host_offset, 0, options);
  const std::uint64_t end = host_offset + length_bytes;
  const std::uint64_t first_unit = std::min(align_up(host_offset, zero_unit_), end);
  const std::uint64_t units_end = std::max(align_down(end, zero_unit_), first_unit);
  if (options.no_fallback && (first_unit != host_offset || units_end != end)) return false;
  rules_.come_to(Event::pwritev_zero);
  write_buffers_of_zeroes(host_offset, first_unit - host_offset);
  for (std::uint64_t at = first_unit; at < units_end;) {
    std::uint64_t piece = units_end - at;
    if (max_write_zero_ != 0) piece = std::min(piece, max_write_zero_);
    require_success(BlkdebugIoType::write_zeroes, at, piece);
    const RangeLock::Guard guard(changes_, at, at + piece, RangeLock::Mode::shared);
    if (!child_->write_zeroes(at, piece, options)) return false;
    at += piece;
  }
  write_buffers_of_zeroes(units_end, end - units_end);
  rules_.come_to(Event::pwritev_done);
  return true;
}

void Blkdebug::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  while (length_bytes > 0) {
    const std::uint64_t piece =
        max_discard_ == 0 ? length_bytes : std::min(length_bytes, max_discard_);
    require_success(BlkdebugIoType::discard, host_offset, piece);
    const RangeLock::Guard guard(changes_, host_offset, host_offset + piece,
                                 RangeLock::Mode::shared);
    child_->discard(host_offset, piece);
    host_offset += piece;
    length_bytes -= piece;
  }
}

}  // namespace

std::unique_ptr<Storage> make_blkdebug(std::unique_ptr<Storage> child, BlkdebugOptions options) {
  require_consistent(options);
  return std::make_unique<Blkdebug>(std::move(child), options);
}

}  // namespace qcowkit
