#include "tests/image/modelled_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/checked.h"
#include "tests/support/command.h"
#include "tests/support/content.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {

namespace {

constexpr const char* kBackingName = "base.img";
constexpr const char* kDataName = "data.raw";

/// Writes content of all kinds into a new disk, cluster by cluster.
void fill_backing(Image& image, std::uint64_t content, bool compressed) {
  constexpr std::uint64_t kRawPart = 4096;
  const std::uint64_t part = image.cluster_size() == 0 ? kRawPart : image.cluster_size();
  for (std::uint64_t at = 0; at < image.virtual_size(); at += part) {
    ++content;
    const auto bytes =
        make_content(content, std::min<std::uint64_t>(part, image.virtual_size() - at));
    if (content % 4 == 0 && content % 8 != 0) continue;  // a hole
    if (compressed) {
      image.write_compressed(at, image.compress(bytes), bytes);
    } else {
      image.write(at, bytes);
    }
  }
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace

std::string describe(const DiskConfig& config) {
  const CreateOptions& c = config.create;
  return fmt::format(
      "{} size {} version {} cluster_size {} refcount_bits {} extended_l2 {} {} lazy {} "
      "preallocation {} backing {} of {} #{} data_file {} raw {} l2_cache {} refcount_cache {} "
      "pass_discards {}",
      c.format, *c.size_bytes, c.version, c.cluster_size_bytes, c.refcount_bits, c.extended_l2,
      c.compression == CompressionType::zstd ? "zstd" : "deflate", c.lazy_refcounts,
      static_cast<int>(c.preallocation), static_cast<int>(config.backing),
      config.backing_size_bytes, config.backing_content, config.data_file, c.data_file_raw,
      config.l2_cache_bytes, config.refcount_cache_bytes, config.discard_pass_through);
}

OperationSpace operation_space(const DiskConfig& config) {
  const std::uint64_t cluster = config.create.cluster_size_bytes;
  return {*config.create.size_bytes, cluster,
          cluster * cluster / (config.create.extended_l2 ? 16 : 8), !config.data_file};
}

// --- Making and opening ------------------------------------------------------------------------

ModelledDisk::ModelledDisk(const DiskConfig& config, std::string folder)
    : config_(config),
      folder_(std::move(folder)),
      storage_(std::make_shared<MemoryStorage>(folder_ + "/disk.qcow2")),
      model_(*config.create.size_bytes) {
  CreateOptions options = config_.create;
  options.cache = CacheMode::unsafe;  // nothing here outlives the power
  if (config_.backing != DiskConfig::Backing::none) {
    create_backing();
    options.backing_file = kBackingName;
    options.backing_format = config_.backing == DiskConfig::Backing::raw ? "raw" : "qcow2";
  }
  if (config_.data_file) options.data_file = folder_ + "/" + kDataName;
  Image::create(*storage_, options);
  open();
}

void ModelledDisk::create_backing() {
  const std::string path = folder_ + "/" + kBackingName;
  CreateOptions options;
  options.cache = CacheMode::unsafe;
  options.format = config_.backing == DiskConfig::Backing::raw ? "raw" : "qcow2";
  options.size_bytes = config_.backing_size_bytes;
  options.cluster_size_bytes = options.format == "raw" ? 0 : 4096;
  Image::create(path, options);
  OpenOptions backing_options;
  backing_options.format = options.format;
  backing_options.read_only = false;
  backing_options.cache = CacheMode::unsafe;
  const auto image = Image::open(path, backing_options);
  fill_backing(*image, config_.backing_content,
               config_.backing == DiskConfig::Backing::qcow2_compressed);
  const std::uint64_t shared = std::min<std::uint64_t>(model_.size(), image->virtual_size());
  image->read(0, std::span(model_).first(shared));
  image->close();
}

void ModelledDisk::open() {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = false;
  options.cache = CacheMode::unsafe;
  options.l2_cache_bytes = config_.l2_cache_bytes;
  options.refcount_cache_bytes = config_.refcount_cache_bytes;
  options.discard_pass_through = config_.discard_pass_through;
  image_ = Image::open(std::make_unique<FaultStorage>(storage_), options);
}

std::optional<std::string> ModelledDisk::reopen() {
  image_->close();
  open();
  return check(true);
}

// --- Operations --------------------------------------------------------------------------------

std::optional<std::string> ModelledDisk::apply(const Operation& operation) try {
  const std::uint64_t begin = operation.guest_offset;
  const std::uint64_t end = begin + operation.length_bytes;
  switch (operation.kind) {
    case OperationKind::read:
      return compare(begin, end);
    case OperationKind::flush:
      image_->flush();
      return std::nullopt;
    case OperationKind::check:
      if (auto wrong = compare_map()) return wrong;
      return check(false);
    case OperationKind::reopen:
      return reopen();
    default:
      break;
  }
  if (auto wrong = change(operation)) return wrong;
  // The clusters around it, too: copy-on-write changes more than the range.
  const std::uint64_t margin = 2 * config_.create.cluster_size_bytes;
  return compare(begin - std::min(begin, margin),
                 std::min<std::uint64_t>(end + margin, model_.size()));
} catch (const std::exception& error) {
  return fmt::format("unexpected exception: {}", error.what());
}

std::optional<std::string> ModelledDisk::change(const Operation& operation) {
  const std::uint64_t begin = operation.guest_offset;
  const std::uint64_t length = operation.length_bytes;
  const auto bytes = make_content(operation.content, length);
  const auto in_model = std::span(model_).subspan(begin, length);
  switch (operation.kind) {
    case OperationKind::write:
      image_->write(begin, bytes);
      break;
    case OperationKind::write_compressed:
      image_->write_compressed(begin, image_->compress(bytes), bytes);
      break;
    case OperationKind::write_in_place:
      image_->write_in_place(
          begin, length,
          [&](Storage& storage, std::uint64_t host_offset, std::uint64_t guest_offset,
              std::uint64_t run_bytes) {
            storage.write(host_offset, std::span(bytes).subspan(guest_offset - begin, run_bytes));
          });
      break;
    case OperationKind::write_zeroes:
    case OperationKind::write_zeroes_unmap:
      image_->write_zeroes(begin, length, operation.kind == OperationKind::write_zeroes_unmap);
      std::memset(in_model.data(), 0, in_model.size());
      return std::nullopt;
    default:
      return discard(begin, begin + length);
  }
  std::memcpy(in_model.data(), bytes.data(), bytes.size());
  return std::nullopt;
}

/// Whole clusters read as zeroes afterwards (where the format can say so); of parts of clusters
/// each byte may.
std::optional<std::string> ModelledDisk::discard(std::uint64_t begin, std::uint64_t end) {
  image_->discard(begin, end - begin);
  if (config_.create.version == 2 && config_.backing != DiskConfig::Backing::none) {
    return std::nullopt;  // nothing is discarded: the backing file would show through
  }
  const std::uint64_t cluster = config_.create.cluster_size_bytes;
  const std::uint64_t whole_begin = std::min(align_up(begin, cluster), end);
  const std::uint64_t whole_end =
      end == model_.size() ? end : std::max(align_down(end, cluster), whole_begin);
  if (whole_begin < whole_end) {
    std::fill(model_.begin() + static_cast<std::ptrdiff_t>(whole_begin),
              model_.begin() + static_cast<std::ptrdiff_t>(whole_end), std::byte{0});
  }
  std::vector<std::byte> now(end - begin);
  image_->read(begin, now);
  for (std::uint64_t at = begin; at < end; ++at) {
    const bool is_whole = whole_begin <= at && at < whole_end;
    const std::byte found = now[at - begin];
    if (!is_whole && found == std::byte{0}) model_[at] = found;
    if (found != model_[at]) return fmt::format("byte {} is wrong after a discard", at);
  }
  return std::nullopt;
}

// --- What must hold ----------------------------------------------------------------------------

std::optional<std::string> ModelledDisk::compare(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::byte> read(end - begin);
  image_->read(begin, read);
  const auto expected = std::span(model_).subspan(begin, end - begin);
  const auto [here, there] = std::mismatch(read.begin(), read.end(), expected.begin());
  if (here == read.end()) return std::nullopt;
  return fmt::format("byte {} reads as {:#x}, expected {:#x}",
                     begin + static_cast<std::uint64_t>(here - read.begin()),
                     static_cast<unsigned>(*here), static_cast<unsigned>(*there));
}

/// Whoever moves the bytes himself, as `map` tells, must find the same disk.
std::optional<std::string> ModelledDisk::compare_map() {
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < model_.size();) {
    const Extent extent = image_->map(at, model_.size() - at);
    if (extent.guest_offset != at || extent.length_bytes == 0 ||
        extent.length_bytes > model_.size() - at) {
      return fmt::format("map of {} says {}+{}", at, extent.guest_offset, extent.length_bytes);
    }
    bytes.assign(extent.length_bytes, std::byte{0});
    if (extent.kind == ExtentKind::data) {
      extent.storage->read(extent.host_offset.value(), bytes);
    } else if (extent.kind == ExtentKind::compressed) {
      image_->read(at, bytes);
    }
    if (std::memcmp(bytes.data(), model_.data() + at, bytes.size()) != 0) {
      return fmt::format("map of {}+{} says kind {} at depth {}, which is not the content", at,
                         extent.length_bytes, static_cast<int>(extent.kind), extent.depth);
    }
    at += extent.length_bytes;
  }
  return std::nullopt;
}

std::optional<std::string> ModelledDisk::check(bool leaks_are_errors) {
  const CheckReport report = image_->check();
  if (report.corruptions == 0 && report.check_errors == 0 &&
      (report.leaks == 0 || !leaks_are_errors)) {
    return std::nullopt;
  }
  std::string text = fmt::format("check: {} corruptions, {} leaks, {} errors", report.corruptions,
                                 report.leaks, report.check_errors);
  for (std::size_t i = 0; i < std::min<std::size_t>(report.messages.size(), 5); ++i) {
    text += "\n  " + report.messages[i];
  }
  return text;
}

std::optional<std::string> ModelledDisk::finish() try {
  if (auto wrong = reopen()) return wrong;
  if (auto wrong = compare(0, model_.size())) return wrong;
  if (auto wrong = compare_map()) return wrong;
  image_->close();
  image_.reset();
  return std::nullopt;
} catch (const std::exception& error) {
  return fmt::format("unexpected exception: {}", error.what());
}

std::optional<std::string> ModelledDisk::ask_reference() const {
  std::vector<std::byte> file(storage_->size());
  storage_->read(0, file);
  const std::string image_path = folder_ + "/disk.qcow2";
  const std::string model_path = folder_ + "/model.raw";
  write_file(image_path, file);
  write_file(model_path, model_);
  const CommandResult check = run({"qemu-img", "check", "-f", "qcow2", image_path});
  if (!check.ok()) return "qemu-img check: " + check.out + check.err;
  const CommandResult compare =
      run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", image_path, model_path});
  if (!compare.ok()) return "qemu-img compare: " + compare.out + compare.err;
  return std::nullopt;
}

}  // namespace qcowkit::test
