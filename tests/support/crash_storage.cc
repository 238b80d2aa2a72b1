// A simulated disk with a volatile write cache, and what a crash leaves of it.
#include "tests/support/crash_storage.h"
#include "base/sector.h"

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "base/checked.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"

namespace qcowkit::test {

namespace {

/// Long ranges of zeroes tear into at most so many pieces: what matters is that they tear.
constexpr std::uint64_t kMaxZeroPieces = 256;

using Random = std::mt19937_64;

/// One fate for each of `count` changes.
std::vector<Fate> draw_fates(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<Fate> fates(count, Fate::lost);
  if (count == 0 || seed == 0) return fates;
  const auto chosen = static_cast<std::ptrdiff_t>(random() % count);
  const Fate unlike = random() % 2 == 0 ? Fate::torn : Fate::kept;
  switch (seed == 1 ? 0 : 1 + seed % 4) {
    case 0:  // all kept
      std::fill(fates.begin(), fates.end(), Fate::kept);
      break;
    case 1:  // one kept or torn
      fates[static_cast<std::size_t>(chosen)] = unlike;
      break;
    case 2:  // one lost or torn
      std::fill(fates.begin(), fates.end(), Fate::kept);
      fates[static_cast<std::size_t>(chosen)] = unlike == Fate::torn ? Fate::torn : Fate::lost;
      break;
    case 3:  // the first ones kept
      std::fill(fates.begin(), fates.begin() + chosen, Fate::kept);
      fates[static_cast<std::size_t>(chosen)] = unlike;
      break;
    default:  // anything
      for (Fate& fate : fates) fate = static_cast<Fate>(random() % 3);
  }
  return fates;
}

}  // namespace

void Power::fail_after(std::uint64_t changes) {
  const MutexLock held(mutex_);
  limit_ = changes;
  is_on_ = changes_ < limit_;
}

std::uint64_t Power::changes() const {
  const MutexLock held(mutex_);
  return changes_;
}

bool Power::is_on() const {
  const MutexLock held(mutex_);
  return is_on_;
}

/// The last change is still made; what comes after it is not.
bool Power::use_for_change() {
  const MutexLock held(mutex_);
  if (!is_on_) return false;
  is_on_ = ++changes_ < limit_;
  return true;
}

/// The disk as a storage.
class CrashDisk::View final : public Storage {
 public:
  explicit View(CrashDisk& disk) : disk_(disk) {}

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override {
    disk_.expect_power();
    disk_.cached_->readv(host_offset, into);
  }
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override {
    IovecCursor cursor(from);
    Change change{Kind::write, host_offset, cursor.remaining(), {}};
    if (change.length_bytes == 0) return;
    change.bytes.resize(change.length_bytes);
    cursor.copy_out(change.bytes);
    disk_.make(std::move(change));
  }
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions /*options*/) override {
    if (length_bytes > 0) disk_.make({Kind::zero, host_offset, length_bytes, {}});
    return true;
  }
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override {
    if (host_offset >= size() || length_bytes == 0) return;
    const std::uint64_t length = std::min(length_bytes, size() - host_offset);
    disk_.make({Kind::discard, host_offset, length, {}});
  }
  void resize(std::uint64_t new_size_bytes, Preallocation /*preallocation*/) override {
    disk_.make({Kind::resize, new_size_bytes, 0, {}});
  }
  void flush() override { disk_.flush(); }
  std::uint64_t size() const override { return disk_.cached_->size(); }
  std::uint64_t allocated_bytes() const override { return disk_.cached_->allocated_bytes(); }
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override {
    return disk_.cached_->extent_at(host_offset, length_bytes);
  }
  bool can_grow() const noexcept override { return true; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return disk_.name_; }
  void close() override {}

 private:
  CrashDisk& disk_;
};

CrashDisk::CrashDisk(std::shared_ptr<Power> power) : CrashDisk(MemoryStorage(), std::move(power)) {}

CrashDisk::CrashDisk(const MemoryStorage& content, std::shared_ptr<Power> power)
    : power_(std::move(power)), durable_(content.clone()), cached_(content.clone()) {}

std::unique_ptr<Storage> CrashDisk::open() { return std::make_unique<View>(*this); }

std::size_t CrashDisk::unflushed() const {
  const MutexLock held(mutex_);
  return unflushed_.size();
}

void CrashDisk::expect_power() const {
  if (!power_->is_on()) throw os_error(EIO, name_ + ": the power is off");
}

void CrashDisk::make(Change change) {
  const MutexLock held(mutex_);
  if (!power_->use_for_change()) throw os_error(EIO, name_ + ": the power is off");
  apply(change, *cached_);
  unflushed_.push_back(std::move(change));
}

void CrashDisk::flush() {
  const MutexLock held(mutex_);
  expect_power();
  for (const Change& change : unflushed_) apply(change, *durable_);
  unflushed_.clear();
}

std::unique_ptr<MemoryStorage> CrashDisk::crash_image(std::span<const Fate> fates,
                                                      std::uint64_t seed) const {
  const MutexLock held(mutex_);
  auto image = durable_->clone();
  for (std::size_t i = 0; i < std::min(fates.size(), unflushed_.size()); ++i) {
    if (fates[i] == Fate::kept) apply(unflushed_[i], *image);
    if (fates[i] == Fate::torn) apply_torn(unflushed_[i], *image, seed ^ (i + 1) << 32);
  }
  return image;
}

std::unique_ptr<MemoryStorage> CrashDisk::crash_image(std::uint64_t seed) const {
  return crash_image(draw_fates(unflushed(), seed), seed);
}

void CrashDisk::apply(const Change& change, MemoryStorage& to) {
  if (change.kind == Kind::resize) {
    to.resize(change.host_offset, Preallocation::off);
  } else {
    apply_part(change, 0, change.length_bytes, to);
  }
}

/// `first` counts from the change's start.
void CrashDisk::apply_part(const Change& change, std::uint64_t first, std::uint64_t length_bytes,
                           MemoryStorage& to) {
  const std::uint64_t host_offset = change.host_offset + first;
  switch (change.kind) {
    case Kind::write:
      to.write(host_offset, std::span(change.bytes).subspan(first, length_bytes));
      break;
    case Kind::zero:
      to.write_zeroes(host_offset, length_bytes, {.may_unmap = true});
      break;
    case Kind::discard:
      to.discard(host_offset, length_bytes);
      break;
    case Kind::resize:
      break;
  }
}

void CrashDisk::apply_torn(const Change& change, MemoryStorage& to, std::uint64_t seed) {
  Random random(seed);
  if (change.kind == Kind::resize) {
    if (random() % 2 == 0) apply(change, to);
    return;
  }
  const std::uint64_t end = change.host_offset + change.length_bytes;
  const std::uint64_t piece =
      change.kind == Kind::write
          ? kSectorBytes
          : align_up(divide_round_up(change.length_bytes, kMaxZeroPieces), kSectorBytes);
  for (std::uint64_t offset = change.host_offset; offset < end;) {
    const std::uint64_t piece_end = std::min(align_down(offset, kSectorBytes) + piece, end);
    if (random() % 2 == 0) {
      apply_part(change, offset - change.host_offset, piece_end - offset, to);
    }
    offset = piece_end;
  }
  const bool grows = change.kind != Kind::discard && end > to.size();
  if (grows && random() % 2 == 0) to.resize(end, Preallocation::off);
}

}  // namespace qcowkit::test
