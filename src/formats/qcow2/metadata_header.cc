// The header of an open image: what it says while the image is changed, and how it is changed.
#include "formats/qcow2/header_writer.h"
#include "formats/qcow2/metadata.h"

namespace qcowkit::qcow2 {

/// Nobody knows which header the disk has, and so which clusters it refers to.
void Metadata::lose_header(const Error& error) {
  failure_.note(error);
  is_header_lost_ = true;
}

/// Changes the header on the disk, durably, and in memory. If it throws, neither has changed; where
/// that cannot be said of the disk, all further changes are refused.
void Metadata::update_header(const std::function<void(Header&)>& change, Tables tables) {
  Header changed = header_;
  change(changed);
  OverlapGuard::Places places;
  if (tables == Tables::move) places = guard_.read_places(storage_, changed);
  try {
    write_header(storage_, header_, changed, [this] { barrier(); });
    barrier();
  } catch (const UnknownHeader& error) {
    lose_header(error);
    throw;
  } catch (const Error&) {
    if (const std::optional<Error> failed_flush = failure()) lose_header(*failed_flush);
    throw;
  }
  header_ = std::move(changed);
  if (tables == Tables::move) guard_.set_places(std::move(places));
}

void Metadata::change_header(const std::function<void(Header&)>& change) {
  // What the new header refers to is durable first.
  flush();
  const MutexLock lock(header_mutex_);
  update_header(change, Tables::move);
  const bool was_lazy = is_lazy();
  note_laziness(header_);
  // From now on, changes need the dirty bit.
  if (is_lazy() && !was_lazy) header_prepared_ = false;
}

void Metadata::set_unclean() {
  const MutexLock lock(header_mutex_);
  if (header_.version >= 3 && !header_.has(incompatible::kDirty)) {
    update_header([](Header& header) { header.incompatible_features |= incompatible::kDirty; });
  }
  ++unclean_;
}

void Metadata::set_unclean(Header& header) {
  ++unclean_;
  if (header.version >= 3) header.incompatible_features |= incompatible::kDirty;
}

void Metadata::set_clean(Header& header) {
  --unclean_;
  if (!is_lazy() && unclean_ == 0) header.incompatible_features &= ~incompatible::kDirty;
}

void Metadata::mark_corrupt() noexcept {
  try {
    const MutexLock lock(header_mutex_);
    is_corrupt_ = true;
    if (header_.version < 3 || header_.has(incompatible::kCorrupt)) return;
    update_header([](Header& header) { header.incompatible_features |= incompatible::kCorrupt; });
  } catch (const std::exception&) {
    // The error that told of the damage is on its way to the caller, and matters more.
  }
}

void Metadata::before_change() {
  if (is_corrupt()) {
    throw Error(Errc::corrupt,
                "the image has been found to be corrupt and is not written to any more; check and "
                "repair it first");
  }
  if (is_header_lost_.load(std::memory_order_relaxed)) throw *failure();
  if (!header_prepared_.load(std::memory_order_acquire)) prepare_header();
  if (map_.wants_write_back()) write_back(Durability::ordered);
}

void Metadata::prepare_header() {
  const MutexLock lock(header_mutex_);
  if (header_prepared_.load(std::memory_order_relaxed)) return;
  // Of what other bits stand for, nothing is known: it ends here.
  const std::uint64_t keep =
      autoclear::kDataFileRaw | (header_.bitmaps ? autoclear::kBitmaps : std::uint64_t{0});
  const bool clear_autoclear = (header_.autoclear_features & ~keep) != 0;
  const bool set_dirty = is_lazy() && !header_.has(incompatible::kDirty);
  if (clear_autoclear || set_dirty) {
    update_header([&](Header& header) {
      header.autoclear_features &= keep;
      if (set_dirty) header.incompatible_features |= incompatible::kDirty;
    });
  }
  header_prepared_.store(true, std::memory_order_release);
}

}  // namespace qcowkit::qcow2
