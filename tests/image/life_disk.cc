#include "tests/image/life_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "base/checked.h"
#include "base/sector.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

namespace {

constexpr std::size_t kSnapshotsMax = 5;
constexpr const char* kPassphrase = "a life of its own";

/// Thrown where the image does what it must not.
struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool holds, const std::string& what) {
  if (!holds) throw Wrong(what);
}

/// `work` has to fail with this code.
template <typename Work>
void expect_refusal(Errc code, const char* what, Work work) {
  try {
    work();
  } catch (const Error& error) {
    require(error.code() == code, fmt::format("{}: refused with: {}", what, error.what()));
    return;
  }
  throw Wrong(fmt::format("{} was not refused", what));
}

/// Returns whether `work` succeeded; a limit may be in its way if `may_fail`.
template <typename Work>
bool within_limits(bool may_fail, Work work) {
  try {
    work();
    return true;
  } catch (const Error& error) {
    if (!may_fail || error.code() != Errc::limit_exceeded) throw;
    return false;
  }
}

std::optional<std::string> first_difference(const char* what, std::span<const std::byte> found,
                                            std::span<const std::byte> expected) {
  if (test::same_bytes(found, expected)) return std::nullopt;
  const auto [here, there] =
      std::mismatch(found.begin(), found.end(), expected.begin(), expected.end());
  if (here == found.end() || there == expected.end()) {
    return fmt::format("{} has {} bytes, expected {}", what, found.size(), expected.size());
  }
  return fmt::format("{}: byte {} is {:#x}, expected {:#x}", what, here - found.begin(),
                     static_cast<unsigned>(*here), static_cast<unsigned>(*there));
}

void put(std::vector<std::byte>& into, std::uint64_t at, std::span<const std::byte> bytes) {
  if (into.size() < at + bytes.size()) into.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(into.data() + at, bytes.data(), bytes.size());
}

}  // namespace

std::string describe(const LifeConfig& config) {
  const CreateOptions& c = config.create;
  return fmt::format(
      "size {} version {} cluster_size {} refcount_bits {} extended_l2 {} {} lazy {} "
      "encryption {} backing {} #{} data_file {} raw {} l2_cache {} refcount_cache {} "
      "overlap_checks {:#x}",
      *c.size_bytes, c.version, c.cluster_size_bytes, c.refcount_bits, c.extended_l2,
      c.compression == CompressionType::zstd ? "zstd" : "deflate", c.lazy_refcounts,
      static_cast<int>(c.encryption), config.backing_size_bytes, config.backing_content,
      config.data_file, c.data_file_raw, config.l2_cache_bytes, config.refcount_cache_bytes,
      config.overlap_checks);
}

// --- Making and opening ------------------------------------------------------------------------

LifeDisk::LifeDisk(const LifeConfig& config, std::string folder)
    : config_(config),
      folder_(std::move(folder)),
      path_(folder_ + "/disk.qcow2"),
      cluster_bytes_(config.create.cluster_size_bytes),
      version_(config.create.version),
      refcount_bits_(config.create.refcount_bits),
      lazy_refcounts_(config.create.lazy_refcounts) {
  CreateOptions options = config_.create;
  options.cache = CacheMode::unsafe;  // nothing here outlives the power
  if (config_.backing_size_bytes != 0) {
    create_backing();
    backing_name_ = "base.img";
    options.backing_file = backing_name_;
    options.backing_format = "raw";
  }
  if (config_.data_file) options.data_file = folder_ + "/data";
  if (is_encrypted()) {
    options.secret = std::make_shared<Secret>(std::string_view(kPassphrase));
    options.luks.iter_time_ms = 10;
  }
  Image::create(path_, options);
  now_.disk = empty_disk(*config_.create.size_bytes);
  open();
}

void LifeDisk::create_backing() {
  backing_.resize(config_.backing_size_bytes);
  constexpr std::uint64_t kPart = 4096;
  for (std::uint64_t at = 0; at < backing_.size(); at += kPart) {
    fill_content(config_.backing_content + at / kPart,
                 std::span(backing_).subspan(at, std::min(kPart, backing_.size() - at)));
  }
  write_file(folder_ + "/base.img", backing_);
}

/// What a disk that has nothing of its own reads as.
std::vector<std::byte> LifeDisk::empty_disk(std::uint64_t size_bytes) const {
  std::vector<std::byte> disk(size_bytes);
  const std::size_t shared = std::min(disk.size(), backing_.size());
  if (shared != 0) std::memcpy(disk.data(), backing_.data(), shared);
  return disk;
}

OpenOptions LifeDisk::open_options(bool read_only) const {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = read_only;
  options.cache = CacheMode::unsafe;
  options.l2_cache_bytes = config_.l2_cache_bytes;
  options.refcount_cache_bytes = config_.refcount_cache_bytes;
  options.overlap_checks = config_.overlap_checks;
  if (is_encrypted()) options.secret = std::make_shared<Secret>(std::string_view(kPassphrase));
  return options;
}

// --- The guest ---------------------------------------------------------------------------------

/// Ranges crowd at the disk's ends and where two L2 tables meet.
LifeDisk::Range LifeDisk::draw_range(const LifeStep& step) const {
  const std::uint64_t size = now_.disk.size();
  if (size == 0) return {};
  const std::uint64_t window = 8 * cluster();
  const std::uint64_t table_covers = cluster() / (config_.create.extended_l2 ? 16 : 8) * cluster();
  std::uint64_t start = 0;
  if (step.choice % 4 == 0) start = size - std::min(size, window);
  if (step.choice % 4 == 1) {
    start = std::min(size, table_covers) - std::min({size, table_covers, window / 2});
  }
  std::uint64_t begin = std::min(start + step.place % window, size - 1);
  if (step.choice / 4 % 3 == 0) begin = align_down(begin, cluster());
  if (step.choice / 4 % 3 == 1) begin = align_down(begin, kSectorBytes);
  const std::uint64_t lengths[] = {1 + step.length % cluster(), cluster() * (1 + step.length % 4),
                                   kSectorBytes * (1 + step.length % 16),
                                   1 + step.length % (6 * cluster())};
  return {begin, std::min(lengths[step.choice / 12 % 4], size - begin)};
}

void LifeDisk::write(const LifeStep& step) {
  const Range range = draw_range(step);
  const bool zeroes = step.kind == LifeKind::write_zeroes;
  const auto bytes = make_content(zeroes ? 0 : step.content, range.length);
  if (zeroes) {
    image_->write_zeroes(range.begin, range.length, step.content % 2 == 0);
  } else {
    image_->write(range.begin, bytes);
  }
  put(now_.disk, range.begin, bytes);
}

void LifeDisk::write_compressed(const LifeStep& step) {
  Range range = draw_range(step);
  if (config_.data_file || is_encrypted() || range.length == 0) return;
  range.begin = align_down(range.begin, cluster());
  range.length = std::min<std::uint64_t>(cluster(), now_.disk.size() - range.begin);
  const auto bytes = make_content(step.content, range.length);
  image_->write_compressed(range.begin, image_->compress(bytes), bytes);
  put(now_.disk, range.begin, bytes);
}

/// Whole clusters read as zeroes afterwards, where the format can say so; of parts of clusters each
/// byte may.
void LifeDisk::discard(const LifeStep& step) {
  const Range range = draw_range(step);
  const std::uint64_t end = range.begin + range.length;
  image_->discard(range.begin, range.length);
  const bool has_effect = version_ >= 3 || backing_name_.empty();
  const std::uint64_t whole_begin = std::min(align_up(range.begin, cluster()), end);
  const std::uint64_t whole_end =
      end == now_.disk.size() ? end : std::max(align_down(end, cluster()), whole_begin);
  if (has_effect && whole_begin < whole_end) {
    put(now_.disk, whole_begin, std::vector<std::byte>(whole_end - whole_begin));
  }
  std::vector<std::byte> found(range.length);
  image_->read(range.begin, found);
  for (std::uint64_t at = range.begin; at < end && has_effect; ++at) {
    const bool is_whole = whole_begin <= at && at < whole_end;
    if (!is_whole && found[at - range.begin] == std::byte{0}) now_.disk[at] = std::byte{0};
  }
}

void LifeDisk::write_vm_state(const LifeStep& step) {
  const auto bytes = make_content(step.content, 1 + step.length % (3 * cluster()));
  // Small clusters: past what one L2 table describes.
  const std::uint64_t place = step.place % (step.choice % 2 == 0 ? cluster() : 70 * cluster());
  const auto write = [&] {
    image_->write_vm_state(cluster() > 4096 ? place % 65536 : place, bytes);
  };
  if (config_.data_file) {
    expect_refusal(Errc::unsupported, "a VM state with a data file", write);
    return;
  }
  write();
  put(now_.vm_state, cluster() > 4096 ? place % 65536 : place, bytes);
}

// --- Snapshots ---------------------------------------------------------------------------------

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

// --- The image as a whole ----------------------------------------------------------------------

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

void LifeDisk::change(const LifeStep& step) {
  switch (step.kind) {
    case LifeKind::write:
    case LifeKind::write_zeroes:
      return write(step);
    case LifeKind::discard:
      return discard(step);
    case LifeKind::write_compressed:
      return write_compressed(step);
    case LifeKind::create_snapshot:
      return create_snapshot(step);
    case LifeKind::apply_snapshot:
      return apply_snapshot(step);
    case LifeKind::delete_snapshot:
      return delete_snapshot(step);
    case LifeKind::write_vm_state:
      return write_vm_state(step);
    case LifeKind::grow:
      return resize(step, true);
    case LifeKind::shrink:
      return resize(step, false);
    case LifeKind::make_empty:
      image_->make_empty();
      now_ = {empty_disk(now_.disk.size()), {}};
      return;
    case LifeKind::amend_version:
      return amend_version();
    case LifeKind::amend_refcount_bits:
      return amend_refcount_bits(step);
    case LifeKind::amend_lazy_refcounts:
      return amend_lazy_refcounts();
    case LifeKind::amend_backing_name:
      return amend_backing_name(step);
    case LifeKind::turn_read_only_and_back:
      return turn_read_only_and_back();
    case LifeKind::invalidate:
      return image_->invalidate();
    case LifeKind::close_and_open:
      image_->close();
      return open();
    case LifeKind::flush:
      return image_->flush();
    case LifeKind::examine:
      return;
  }
}

std::optional<std::string> LifeDisk::apply(const LifeStep& step) try {
  change(step);
  const bool was_opened =
      step.kind == LifeKind::close_and_open || step.kind == LifeKind::turn_read_only_and_back;
  if (was_opened || step.kind == LifeKind::examine) return examine(was_opened);
  return compare_held(*image_, now_);
} catch (const std::exception& error) {
  return std::string(error.what());
}

std::optional<std::string> LifeDisk::finish() try {
  image_->close();
  open();
  auto wrong = examine(true);
  image_->close();
  return wrong;
} catch (const std::exception& error) {
  return std::string(error.what());
}

// --- Looking -----------------------------------------------------------------------------------

std::optional<std::string> LifeDisk::compare_held(Image& image, const Held& held) const {
  std::vector<std::byte> disk(image.virtual_size());
  image.read(0, disk);
  if (auto wrong = first_difference("disk", disk, held.disk)) return wrong;
  if (config_.data_file) return std::nullopt;
  std::vector<std::byte> expected = held.vm_state;
  expected.resize(expected.size() + cluster());
  std::vector<std::byte> vm_state(expected.size());
  image.read_vm_state(0, vm_state);
  return first_difference("VM state", vm_state, expected);
}

/// Each snapshot as a reader of its own sees it.
std::optional<std::string> LifeDisk::compare_snapshots() const {
  if (config_.data_file) return std::nullopt;
  const std::vector<SnapshotInfo> told = image_->snapshots();
  if (told.size() != snapshots_.size()) {
    return fmt::format("{} snapshots, expected {}", told.size(), snapshots_.size());
  }
  for (std::size_t i = 0; i < told.size(); ++i) {
    const Snapshot& expected = snapshots_[i];
    if (told[i].id != expected.id || told[i].disk_size_bytes != expected.held.disk.size() ||
        told[i].vm_state_size_bytes != expected.vm_state_size_bytes) {
      return fmt::format("snapshot {} is told to have {} bytes, id {}", i, told[i].disk_size_bytes,
                         told[i].id);
    }
    OpenOptions options = open_options(true);
    options.locking = Locking::force_share;
    options.snapshot.id = expected.id;
    const auto view = Image::open(path_, options);
    if (auto wrong = compare_held(*view, expected.held)) {
      return "snapshot " + expected.id + ": " + *wrong;
    }
  }
  return std::nullopt;
}

std::optional<std::string> LifeDisk::check(bool leaks_are_errors) {
  return what_check_finds(*image_, leaks_are_errors);
}

std::optional<std::string> LifeDisk::compare_options() const {
  const ImageInfo info = image_->info();
  const ImageInfo::Qcow2& found = info.qcow2.value();
  if (found.version == version_ && found.refcount_bits == refcount_bits_ &&
      found.lazy_refcounts == lazy_refcounts_ && info.backing_file == backing_name_ &&
      info.virtual_size_bytes == now_.disk.size() && !found.corrupt) {
    return std::nullopt;
  }
  return fmt::format("version {}, refcount_bits {}, lazy_refcounts {}, backing file {}, size {}",
                     found.version, found.refcount_bits, found.lazy_refcounts, info.backing_file,
                     info.virtual_size_bytes);
}

std::optional<std::string> LifeDisk::examine(bool leaks_are_errors) {
  if (auto wrong = check(leaks_are_errors)) return wrong;
  if (auto wrong = compare_options()) return wrong;
  if (image_->info().dirty) return "the image is marked dirty after a check";
  if (auto wrong = compare_held(*image_, now_)) return wrong;
  return compare_snapshots();
}

std::optional<std::string> LifeDisk::ask_reference() const try {
  if (is_encrypted()) return std::nullopt;  // the tools need the key for everything
  if (auto wrong = test::ask_reference(path_, now_.disk)) return wrong;
  for (const Snapshot& snapshot : snapshots_) {
    // Of a snapshot of another size, the reference shows as much as the disk has now.
    if (snapshot.held.disk.size() != now_.disk.size()) continue;
    const std::string raw = path_ + ".snapshot";
    qemu_img({"convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw", "-l",
              "snapshot.id=" + snapshot.id, path_, raw});
    std::vector<std::byte> found = read_file(raw);
    found.resize(snapshot.held.disk.size());  // the reference rounds up to sectors
    if (auto wrong = first_difference("snapshot, by the reference", found, snapshot.held.disk)) {
      return wrong;
    }
  }
  return std::nullopt;
} catch (const std::exception& error) {
  return std::string(error.what());
}

}  // namespace qcowkit::test
