// Snapshots, and changes of the image as a whole.
#include <fmt/core.h>

#include <algorithm>

#include "base/checked.h"
#include "base/sector.h"
#include "tests/image/life_disk.h"
#include "tests/image/life_expectations.h"

namespace qcowkit::test {

namespace {

constexpr std::size_t kSnapshotsMax = 5;

}  // namespace

void LifeDisk::create_snapshot(const LifeStep& step) {
  Image::NewSnapshot wanted;
  wanted.name = fmt::format("snapshot {}", step.content);
  if (step.choice % 2 == 0) wanted.vm_state_size_bytes = now_.vm_state.size();
  if (config_.data_file) {
    expect_refusal(Errc::unsupported, "a snapshot with a data file",
                   [&] { image_->create_snapshot(wanted); });
    return;
  }
  if (snapshots_.size() >= kSnapshotsMax) return;
  SnapshotInfo made;
  if (!within_limits(may_exceed_limit(refcount_bits_),
                     [&] { made = image_->create_snapshot(wanted); })) {
    return;
  }
  require(made.name == wanted.name && made.disk_size_bytes == now_.disk.size() &&
              made.vm_state_size_bytes == wanted.vm_state_size_bytes,
          "the new snapshot is not what was asked for");
  snapshots_.push_back({made.id, wanted.vm_state_size_bytes, now_});
  if (wanted.vm_state_size_bytes != 0) now_.vm_state.clear();
}

void LifeDisk::apply_snapshot(const LifeStep& step) {
  if (snapshots_.empty()) {
    if (config_.data_file) return;
    expect_refusal(Errc::invalid_argument, "a snapshot that is not there", [&] {
      image_->apply_snapshot({"1", {}});
    });
    return;
  }
  const Snapshot& which = snapshots_[step.place % snapshots_.size()];
  if (within_limits(may_exceed_limit(refcount_bits_), [&] {
        image_->apply_snapshot({which.id, {}});
      })) {
    now_ = which.held;
  }
}

void LifeDisk::delete_snapshot(const LifeStep& step) {
  if (snapshots_.empty()) return;
  const auto which =
      snapshots_.begin() + static_cast<std::ptrdiff_t>(step.place % snapshots_.size());
  image_->delete_snapshot({which->id, {}});
  snapshots_.erase(which);
}

void LifeDisk::resize(const LifeStep& step, bool grows) {
  const std::uint64_t size = now_.disk.size();
  const std::uint64_t size_max = *config_.create.size_bytes * 2;
  // A little, so that the last cluster stays the last, or much.
  const std::uint64_t unit = step.choice % 3 == 0 ? kSectorBytes : cluster();
  const std::uint64_t by = unit * (1 + step.length % (step.choice % 2 == 0 ? 3 : 200));
  std::uint64_t wanted = grows ? std::min(size + by, size_max) : size - std::min(size, by);
  if (step.choice % 7 == 0) wanted = align_down(wanted, cluster());
  if (!grows && step.choice % 50 == 0) wanted = 0;
  if (wanted == size) return;
  ResizeOptions options;
  options.may_shrink = true;
  const auto work = [&] { image_->resize(wanted, options); };
  if (wanted > size) options.preallocation = static_cast<Preallocation>(step.content % 4);
  if (version_ == 2 && !snapshots_.empty()) {
    expect_refusal(Errc::unsupported, "resizing a version 2 image with snapshots", work);
    return;
  }
  work();
  now_.disk.resize(wanted);
  now_.vm_state.clear();
}

bool LifeDisk::can_change_to_version_2() const {
  return refcount_bits_ == 16 && !config_.create.extended_l2 && !config_.data_file &&
         config_.create.compression == CompressionType::deflate;
}

void LifeDisk::amend_version() {
  AmendOptions options;
  options.version = version_ == 2 ? 3 : 2;
  const auto work = [&] { image_->amend(options); };
  if (options.version == 2 && !can_change_to_version_2()) {
    expect_refusal(refcount_bits_ == 16 ? Errc::unsupported : Errc::invalid_argument,
                   "a version that lacks what the image has", work);
    return;
  }
  work();
  version_ = *options.version;
  if (version_ == 2) lazy_refcounts_ = false;
}

void LifeDisk::amend_refcount_bits(const LifeStep& step) {
  AmendOptions options;
  options.refcount_bits = 1u << step.content % 7;
  const auto work = [&] { image_->amend(options); };
  if (version_ == 2 && *options.refcount_bits != 16) {
    expect_refusal(Errc::invalid_argument, "a refcount width that version 2 lacks", work);
    return;
  }
  if (within_limits(may_exceed_limit(*options.refcount_bits), work)) {
    refcount_bits_ = *options.refcount_bits;
  }
}

void LifeDisk::amend_lazy_refcounts() {
  AmendOptions options;
  options.lazy_refcounts = !lazy_refcounts_;
  const auto work = [&] { image_->amend(options); };
  if (version_ == 2) {
    expect_refusal(Errc::invalid_argument, "lazy refcounts in version 2", work);
    return;
  }
  work();
  lazy_refcounts_ = *options.lazy_refcounts;
}

/// The same file by names of different lengths.
void LifeDisk::amend_backing_name(const LifeStep& step) {
  if (backing_name_.empty()) return;
  AmendOptions options;
  std::string name = "base.img";
  const std::size_t longest = cluster() == kSectorBytes ? 60 : 450;
  for (std::size_t i = step.length % longest; i > 0; --i) name = "./" + name;
  options.backing_file = name;
  options.backing_format = "raw";
  image_->amend(options);
  backing_name_ = name;
}

void LifeDisk::turn_read_only_and_back() {
  image_->reopen(true);
  expect_refusal(Errc::read_only, "a flushless write to a read-only image",
                 [&] { image_->resize(now_.disk.size() + kSectorBytes); });
  if (const auto wrong = compare_held(*image_, now_)) throw Wrong(*wrong);
  image_->reopen(false);
}

}  // namespace qcowkit::test
