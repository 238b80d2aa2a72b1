#include "tests/image/life_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "base/checked.h"
#include "base/sector.h"
#include "tests/image/life_expectations.h"
#include "tests/support/content.h"
#include "tests/support/modelled_image.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

namespace {

constexpr const char* kPassphrase = "a life of its own";

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

// --- Each step
// -------------------------------------------------------------------------------------

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

}  // namespace qcowkit::test
