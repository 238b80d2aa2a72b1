// The drivers "null-co" and "null-aio": a disk without bytes.
#include "storage/null_storage.h"

#include <fmt/core.h>

#include <cerrno>
#include <chrono>
#include <limits>
#include <span>
#include <thread>
#include <utility>

#include "base/checked.h"
#include "base/sector.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

/// The last size that can be rounded up to a sector and still is one of a file.
constexpr std::uint64_t kSizeMax =
    align_down(std::numeric_limits<std::int64_t>::max(), kSectorBytes);

class NullStorage final : public Storage {
 public:
  NullStorage(const NullOptions& options, std::string name)
      : options_(options), name_(std::move(name)) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    take_time();
    if (options_.read_zeroes) {
      IovecCursor cursor(into);
      cursor.fill_zero(cursor.remaining());
    } else {
      clear_past_end(host_offset, into);
    }
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    require_inside(host_offset, total_bytes(from));
    take_time();
  }
  /// As the reference has it, only by writing zeroes.
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override {
    if (options.no_fallback) return false;
    require_inside(host_offset, length_bytes);
    take_time();
    return true;
  }
  void discard(std::uint64_t, std::uint64_t) override {}
  void flush() override { take_time(); }
  void resize(std::uint64_t, Preallocation) override {
    throw Error(Errc::unsupported, "Image format driver does not support resize");
  }
  std::uint64_t size() const override { return options_.size_bytes; }
  std::uint64_t allocated_bytes() const override { return 0; }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    if (options_.read_zeroes || host_offset >= size()) return {length_bytes, true};
    return {std::min(length_bytes, size() - host_offset), false};
  }
  bool can_grow() const noexcept override { return false; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return name_; }
  void close() override {}

 private:
  void take_time() const {
    if (options_.latency_nanoseconds == 0) return;
    std::this_thread::sleep_for(std::chrono::nanoseconds(options_.latency_nanoseconds));
  }

  /// What lies past the end is zero for every storage.
  void clear_past_end(std::uint64_t host_offset, std::span<const iovec> into) const {
    IovecCursor cursor(into);
    const std::uint64_t inside = host_offset < size() ? size() - host_offset : 0;
    cursor.skip(std::min<std::uint64_t>(cursor.remaining(), inside));
    cursor.fill_zero(cursor.remaining());
  }

  void require_inside(std::uint64_t host_offset, std::uint64_t length_bytes) const {
    if (length_bytes <= size() && host_offset <= size() - length_bytes) return;
    throw os_error(
        ENOSPC, fmt::format("{}: write {} bytes at offset {}", name_, length_bytes, host_offset));
  }

  // Constant after construction.
  const NullOptions options_;
  const std::string name_;
};

}  // namespace

std::unique_ptr<Storage> make_null_storage(const NullOptions& options, std::string name) {
  if (options.latency_nanoseconds < 0) {
    throw Error(Errc::invalid_argument, "latency-ns is invalid");
  }
  if (options.size_bytes > kSizeMax) {
    throw os_error(EFBIG, "Could not refresh total sector count");
  }
  return std::make_unique<NullStorage>(options, std::move(name));
}

}  // namespace qcowkit
