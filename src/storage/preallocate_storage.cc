// The driver "preallocate": a file grows ahead of what is written behind its end.
#include "storage/preallocate_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/mutex.h"
#include "base/sector.h"
#include "qcowkit/error.h"
#include "storage/forwarding_storage.h"
#include "storage/iovec_cursor.h"

namespace qcowkit {

namespace {

constexpr std::uint64_t kOffsetMax = std::numeric_limits<std::int64_t>::max();

/// The first multiple of `unit` that is not below `value`; none if no file reaches so far.
std::optional<std::uint64_t> round_up(std::uint64_t value, std::uint64_t unit) {
  if (unit == 0) return value;
  const auto rounded = checked_multiply(divide_round_up(value, unit), unit);
  return rounded && *rounded <= kOffsetMax ? rounded : std::nullopt;
}

class PreallocateStorage final : public ForwardingStorage {
 public:
  PreallocateStorage(std::unique_ptr<Storage> child, const PreallocateOptions& options);
  ~PreallocateStorage() override;

  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override { return data_end_; }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  void close() override;

 private:
  void extend_to(std::uint64_t host_offset, std::uint64_t length_bytes);
  void grow_ahead(std::uint64_t end) REQUIRES(growth_mutex_);
  void give_back();

  const PreallocateOptions options_;

  // Lock order: size_mutex_, growth_mutex_.

  /// Held exclusively by what sets the size; shared by writes, which only ever raise it.
  SharedMutex size_mutex_;
  /// Where what was written ends: our size. Behind it the child holds zeroes.
  std::atomic<std::uint64_t> data_end_;

  Mutex growth_mutex_;
  std::uint64_t file_end_ GUARDED_BY(growth_mutex_);  // the child's size
  bool may_grow_ GUARDED_BY(growth_mutex_);
};

PreallocateStorage::PreallocateStorage(std::unique_ptr<Storage> child,
                                       const PreallocateOptions& options)
    : ForwardingStorage(std::move(child)),
      options_(options),
      data_end_(ForwardingStorage::size()),
      file_end_(data_end_),
      may_grow_(options.size_bytes != 0 && ForwardingStorage::can_grow() &&
                !ForwardingStorage::is_read_only()) {}

PreallocateStorage::~PreallocateStorage() {
  try {
    give_back();
  } catch (const std::exception&) {
    // Zeroes stay behind the end; `close` is there for those who want to know.
  }
}

void PreallocateStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const SharedLock held(size_mutex_);
  extend_to(host_offset, total_bytes(from));
  ForwardingStorage::writev(host_offset, from);
}

bool PreallocateStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                      ZeroOptions options) {
  const SharedLock held(size_mutex_);
  if (!can_grow()) return ForwardingStorage::write_zeroes(host_offset, length_bytes, options);
  const std::uint64_t old_end = data_end_;
  if (host_offset < old_end) {
    const std::uint64_t inside = std::min(length_bytes, old_end - host_offset);
    if (!ForwardingStorage::write_zeroes(host_offset, inside, options)) return false;
  }
  // What is new holds zeroes already, unless another write has come to hold it meanwhile.
  extend_to(host_offset, length_bytes);
  return true;
}

void PreallocateStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const std::uint64_t end = data_end_;
  if (host_offset >= end) return;
  ForwardingStorage::discard(host_offset, std::min(length_bytes, end - host_offset));
}

void PreallocateStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  give_back();  // what is added is to be as `preallocation` says
  const ExclusiveLock held(size_mutex_);
  const MutexLock held_growth(growth_mutex_);
  ForwardingStorage::resize(new_size_bytes, preallocation);
  data_end_ = new_size_bytes;
  file_end_ = new_size_bytes;
}

StorageExtent PreallocateStorage::extent_at(std::uint64_t host_offset,
                                            std::uint64_t length_bytes) const {
  const std::uint64_t end = data_end_;
  if (host_offset >= end) return {length_bytes, true};
  return ForwardingStorage::extent_at(host_offset, std::min(length_bytes, end - host_offset));
}

void PreallocateStorage::close() {
  give_back();
  ForwardingStorage::close();
}

/// Makes the child, and our size, reach over the range.
void PreallocateStorage::extend_to(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const auto end = checked_add(host_offset, length_bytes);
  if (length_bytes == 0 || !can_grow()) return;
  if (!end || *end <= data_end_) return;  // the child refuses what overflows
  const MutexLock held(growth_mutex_);
  if (*end > file_end_) grow_ahead(*end);
  if (*end > data_end_) data_end_ = *end;
}

/// Allocates ahead, or where that cannot be had grows just as far as is needed.
void PreallocateStorage::grow_ahead(std::uint64_t end) {
  const auto ahead = checked_add(end, options_.size_bytes);
  const auto wanted = ahead ? round_up(*ahead, options_.align_bytes) : std::nullopt;
  if (may_grow_ && wanted) {
    try {
      ForwardingStorage::resize(*wanted, Preallocation::falloc);
      file_end_ = *wanted;
      return;
    } catch (const Error&) {
      may_grow_ = false;  // no space, or a file system that does not know how
    }
  }
  ForwardingStorage::resize(end, Preallocation::off);
  file_end_ = end;
}

void PreallocateStorage::give_back() {
  const ExclusiveLock held(size_mutex_);
  const MutexLock held_growth(growth_mutex_);
  if (file_end_ == data_end_) return;
  ForwardingStorage::resize(data_end_, Preallocation::off);
  file_end_ = data_end_;
}

}  // namespace

std::unique_ptr<Storage> make_preallocate_storage(std::unique_ptr<Storage> child,
                                                  const PreallocateOptions& options) {
  if (!is_aligned(options.align_bytes, kSectorBytes)) {
    throw Error(Errc::invalid_argument,
                fmt::format("prealloc-align parameter of preallocate filter is not aligned to {}",
                            kSectorBytes));
  }
  return std::make_unique<PreallocateStorage>(std::move(child), options);
}

}  // namespace qcowkit
