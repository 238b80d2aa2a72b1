// A storage whose operations fail on command.
//
// The fault model: one operation, or each from one on, fails with an errno of the test's choice.
// An operation that fails has done nothing; but a failing write or write_zeroes may be told to
// change its first bytes before (a torn write). A failed read has left its buffers alone. After a
// failed flush every later flush of the same storage fails, as `Storage::flush` demands. Everything
// else goes through to the storage behind it, which holds at any time exactly what was written.
#pragma once

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "qcowkit/storage.h"

namespace qcowkit::test {

/// Sets of kinds of operations, to be joined by `|`.
using Operations = unsigned;
inline constexpr Operations kReads = 1;
inline constexpr Operations kWrites = 2;
inline constexpr Operations kZeroWrites = 4;
inline constexpr Operations kDiscards = 8;
inline constexpr Operations kFlushes = 16;
inline constexpr Operations kResizes = 32;
inline constexpr Operations kChanges = kWrites | kZeroWrites | kDiscards | kResizes;
inline constexpr Operations kAllOperations = kReads | kChanges | kFlushes;

/// Which operation fails, and how.
struct Fault {
  Operations operations = kAllOperations;  ///< those that count and may fail
  std::uint64_t at = 1;                    ///< the how-manieth of them, counted from arming on
  bool stays = false;                      ///< the later ones fail, too
  int errno_value = EIO;
  std::uint64_t torn_bytes = 0;  ///< what a failing write or write_zeroes does, at most
};

/// What is to fail, and what has been done so far; for one storage or several. Thread-safe.
class FaultPlan {
 public:
  void arm(const Fault& fault) EXCLUDES(mutex_);
  void disarm() EXCLUDES(mutex_);
  /// How many operations of these kinds were asked for, failed ones included, since the plan was
  /// made.
  std::uint64_t count(Operations operations) const EXCLUDES(mutex_);
  /// True if an operation has failed since the plan was last armed.
  bool has_fired() const EXCLUDES(mutex_);

 private:
  friend class FaultStorage;
  struct Verdict {
    int errno_value = 0;  // 0: the operation goes through
    std::uint64_t torn_bytes = 0;
  };
  Verdict judge(Operations kind) EXCLUDES(mutex_);

  static constexpr int kKinds = 6;

  mutable Mutex mutex_;
  std::uint64_t counts_[kKinds] GUARDED_BY(mutex_) = {};
  bool is_armed_ GUARDED_BY(mutex_) = false;
  bool has_fired_ GUARDED_BY(mutex_) = false;
  std::uint64_t seen_ GUARDED_BY(mutex_) = 0;  // operations that counted since arming
  Fault fault_ GUARDED_BY(mutex_);
};

/// Thread-safe. `close` does not reach the storage behind, so that it can be opened again. Copies
/// are not offloaded (`copy_from` does nothing): they come as reads and writes, and count.
class FaultStorage final : public Storage {
 public:
  explicit FaultStorage(std::shared_ptr<Storage> behind,
                        std::shared_ptr<FaultPlan> plan = std::make_shared<FaultPlan>());

  FaultPlan& plan() noexcept { return *plan_; }

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override;
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override { return behind_->size(); }
  std::uint64_t allocated_bytes() const override { return behind_->allocated_bytes(); }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    return behind_->extent_at(host_offset, length_bytes);
  }
  bool can_grow() const noexcept override { return behind_->can_grow(); }
  std::uint32_t alignment() const noexcept override { return behind_->alignment(); }
  bool is_read_only() const noexcept override { return behind_->is_read_only(); }
  const std::string& name() const noexcept override { return behind_->name(); }
  void close() override {}

 private:
  const std::shared_ptr<Storage> behind_;
  const std::shared_ptr<FaultPlan> plan_;

  Mutex mutex_;
  int flush_error_ GUARDED_BY(mutex_) = 0;
};

}  // namespace qcowkit::test
