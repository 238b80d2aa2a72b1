#include "tests/support/modelled_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "tests/support/content.h"

namespace qcowkit::test {

std::optional<std::string> ModelledImage::apply(const Operation& operation) {
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
      return "reopening is the caller's business";
    default:
      break;
  }
  if (auto wrong = change(operation)) return wrong;
  // The clusters around it, too: copy-on-write changes more than the range.
  const std::uint64_t margin = 2 * image_->cluster_size();
  return compare(begin - std::min(begin, margin),
                 std::min<std::uint64_t>(end + margin, model_.size()));
}

std::optional<std::string> ModelledImage::change(const Operation& operation) {
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
std::optional<std::string> ModelledImage::discard(std::uint64_t begin, std::uint64_t end) {
  image_->discard(begin, end - begin);
  if (!discards_) return compare(begin, end);
  const std::uint64_t cluster = image_->cluster_size();
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

std::optional<std::string> ModelledImage::compare(std::uint64_t begin, std::uint64_t end) {
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
std::optional<std::string> ModelledImage::compare_map() {
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < model_.size();) {
    const Extent extent = image_->map(at, model_.size() - at);
    if (extent.guest_offset != at || extent.length_bytes == 0 ||
        extent.length_bytes > model_.size() - at) {
      return fmt::format("map of {} says {}+{}", at, extent.guest_offset, extent.length_bytes);
    }
    bytes.assign(extent.length_bytes, std::byte{0});
    if (extent.kind == ExtentKind::data && !extent.is_encrypted) {
      extent.storage->read(extent.host_offset.value(), bytes);
    } else if (extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed) {
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

std::optional<std::string> ModelledImage::check(bool leaks_are_errors) {
  return what_check_finds(*image_, leaks_are_errors);
}

std::optional<std::string> what_check_finds(Image& image, bool leaks_are_errors) {
  const CheckReport report = image.check();
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

std::optional<std::string> ModelledImage::compare_all() {
  if (auto wrong = compare(0, model_.size())) return wrong;
  return compare_map();
}

}  // namespace qcowkit::test
