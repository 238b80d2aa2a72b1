// The driver "blkverify": what a storage under test holds is compared with a raw copy.
#include "storage/blkverify_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "base/range_lock.h"
#include "qcowkit/error.h"
#include "storage/forwarding_storage.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

/// The copy is read and compared in pieces, so that a large request does not double its memory.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

class BlkverifyStorage final : public ForwardingStorage {
 public:
  BlkverifyStorage(std::unique_ptr<Storage> test, std::unique_ptr<Storage> raw,
                   MismatchSink on_mismatch)
      : ForwardingStorage(std::move(test)),
        raw_(std::move(raw)),
        on_mismatch_(std::move(on_mismatch)),
        name_(fmt::format("blkverify:{}:{}", raw_->name(), child().name())) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    const Range range(ranges_, host_offset, host_offset + total_bytes(from), kChanging);
    raw_->writev(host_offset, from);
    ForwardingStorage::writev(host_offset, from);
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    const Range range(ranges_, host_offset, host_offset + length_bytes, kChanging);
    if (!ForwardingStorage::write_zeroes(host_offset, length_bytes, options)) return false;
    options.no_fallback = false;
    return raw_->write_zeroes(host_offset, length_bytes, options);
  }
  /// A hint that the two may take in different ways, which is no fault of either.
  void discard(std::uint64_t, std::uint64_t) override {}
  void flush() override {
    raw_->flush();
    ForwardingStorage::flush();
  }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    const Range range(ranges_, 0, RangeLock::kToTheEnd, kChanging);
    raw_->resize(new_size_bytes, preallocation);
    ForwardingStorage::resize(new_size_bytes, preallocation);
  }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    // Whoever knew of a hole would not read it, and nothing would be compared.
    const std::uint64_t end = size();
    if (host_offset >= end) return {length_bytes, true};
    return {std::min(length_bytes, end - host_offset), false};
  }
  bool can_grow() const noexcept override { return child().can_grow() && raw_->can_grow(); }
  std::uint32_t alignment() const noexcept override {
    return std::max(child().alignment(), raw_->alignment());
  }
  bool is_read_only() const noexcept override {
    return child().is_read_only() || raw_->is_read_only();
  }
  const std::string& name() const noexcept override { return name_; }
  void close() override {
    ForwardingStorage::close();
    raw_->close();
  }
  void set_listener(EventListener* listener) noexcept override {
    raw_->set_listener(listener);
    ForwardingStorage::set_listener(listener);
  }

 private:
  using Range = RangeLock::Guard;
  static constexpr RangeLock::Mode kChanging = RangeLock::Mode::exclusive;

  [[noreturn]] void fail(std::uint64_t host_offset, std::size_t length_bytes,
                         std::uint64_t differs_at) const {
    const std::string message =
        fmt::format("blkverify: read offset={} bytes={} contents mismatch at offset {}",
                    host_offset, length_bytes, differs_at);
    if (on_mismatch_) on_mismatch_(message);
    throw Error(Errc::corrupt, message);
  }

  // Constant after construction.
  const std::unique_ptr<Storage> raw_;
  const MismatchSink on_mismatch_;
  const std::string name_;

  // Both are written before another request sees either, else they would seem to differ.
  RangeLock ranges_;
};

void BlkverifyStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const std::size_t length = total_bytes(into);
  const Range range(ranges_, host_offset, host_offset + length, RangeLock::Mode::shared);
  ForwardingStorage::readv(host_offset, into);

  Buffer expected(std::min(length, kPieceBytes));
  IovecCursor cursor(into);
  std::uint64_t at = host_offset;
  while (cursor.remaining() > 0) {
    const std::span<const std::byte> found = cursor.take(expected.size());
    const std::span<std::byte> copy = expected.span().first(found.size());
    raw_->read(at, copy);
    const auto [difference, in_copy] = std::ranges::mismatch(found, copy);
    if (difference != found.end()) {
      const auto index = static_cast<std::uint64_t>(difference - found.begin());
      fail(host_offset, length, at + index);
    }
    at += found.size();
  }
}

}  // namespace

std::unique_ptr<Storage> make_blkverify_storage(std::unique_ptr<Storage> test,
                                                std::unique_ptr<Storage> raw,
                                                MismatchSink on_mismatch) {
  return std::make_unique<BlkverifyStorage>(std::move(test), std::move(raw),
                                            std::move(on_mismatch));
}

}  // namespace qcowkit
