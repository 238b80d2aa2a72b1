// A storage whose operations fail on command.
#include "tests/support/fault_storage.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit::test {

void FaultPlan::arm(const Fault& fault) {
  const MutexLock held(mutex_);
  fault_ = fault;
  is_armed_ = true;
  has_fired_ = false;
  seen_ = 0;
}

void FaultPlan::disarm() {
  const MutexLock held(mutex_);
  is_armed_ = false;
}

std::uint64_t FaultPlan::count(Operations operations) const {
  const MutexLock held(mutex_);
  std::uint64_t sum = 0;
  for (int kind = 0; kind < kKinds; ++kind) {
    if ((operations >> kind & 1) != 0) sum += counts_[kind];
  }
  return sum;
}

bool FaultPlan::has_fired() const {
  const MutexLock held(mutex_);
  return has_fired_;
}

FaultPlan::Verdict FaultPlan::judge(Operations kind) {
  const MutexLock held(mutex_);
  ++counts_[std::countr_zero(kind)];
  if (!is_armed_ || (fault_.operations & kind) == 0) return {};
  ++seen_;
  const bool fails = fault_.stays ? seen_ >= fault_.at : seen_ == fault_.at;
  if (!fails) return {};
  has_fired_ = true;
  return {fault_.errno_value, fault_.torn_bytes};
}

FaultStorage::FaultStorage(std::shared_ptr<Storage> behind, std::shared_ptr<FaultPlan> plan)
    : behind_(std::move(behind)), plan_(std::move(plan)) {}

void FaultStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const auto verdict = plan_->judge(kReads);
  if (verdict.errno_value != 0) throw os_error(verdict.errno_value, name() + ": injected: read");
  behind_->readv(host_offset, into);
}

void FaultStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const auto verdict = plan_->judge(kWrites);
  if (verdict.errno_value == 0) return behind_->writev(host_offset, from);
  IovecCursor cursor(from);
  std::vector<std::byte> torn(std::min<std::uint64_t>(verdict.torn_bytes, cursor.remaining()));
  cursor.copy_out(torn);
  behind_->write(host_offset, torn);
  throw os_error(verdict.errno_value, name() + ": injected: write");
}

bool FaultStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                ZeroOptions options) {
  const auto verdict = plan_->judge(kZeroWrites);
  if (verdict.errno_value == 0) return behind_->write_zeroes(host_offset, length_bytes, options);
  behind_->write_zeroes(host_offset, std::min(verdict.torn_bytes, length_bytes), {});
  throw os_error(verdict.errno_value, name() + ": injected: write zeroes");
}

void FaultStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  const auto verdict = plan_->judge(kDiscards);
  if (verdict.errno_value != 0) throw os_error(verdict.errno_value, name() + ": injected: discard");
  behind_->discard(host_offset, length_bytes);
}

void FaultStorage::flush() {
  const auto verdict = plan_->judge(kFlushes);
  {
    const MutexLock held(mutex_);
    if (flush_error_ == 0) flush_error_ = verdict.errno_value;
    if (flush_error_ != 0) throw os_error(flush_error_, name() + ": injected: flush");
  }
  behind_->flush();
}

void FaultStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  const auto verdict = plan_->judge(kResizes);
  if (verdict.errno_value != 0) throw os_error(verdict.errno_value, name() + ": injected: resize");
  behind_->resize(new_size_bytes, preallocation);
}

}  // namespace qcowkit::test
