// The open image's disk as requests find it: they fail in the reference's ways, and may keep what
// they read from a backing file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/range_lock.h"
#include "qcowkit/image.h"

namespace qcowkit::cli::io {

struct ZeroRequest {
  std::uint64_t offset;
  std::uint64_t length_bytes;
  bool may_unmap = false;
  bool no_fallback = false;  ///< fail rather than write buffers of zeroes
  bool durable = false;      ///< when the call returns
};

/// Thread-safe. Requests throw `Error`, whose code is the one that the reference reports.
class Disk {
 public:
  /// With `copies_on_read`, clusters that are read and not in the image's own layer are stored
  /// there.
  Disk(std::unique_ptr<Image> image, bool copies_on_read)
      : image_(std::move(image)), copies_on_read_(copies_on_read) {}

  Image& image() noexcept { return *image_; }
  bool copies_on_read() const noexcept { return copies_on_read_; }

  void read(std::uint64_t offset, std::span<std::byte> into);
  void write(std::uint64_t offset, std::span<const std::byte> from, bool durable);
  void write_zeroes(const ZeroRequest& request);
  /// Stores whole clusters compressed, where nothing is stored yet.
  void write_compressed(std::uint64_t offset, std::span<const std::byte> from);
  void discard(std::uint64_t offset, std::uint64_t length_bytes);

 private:
  void require_inside(std::uint64_t offset, std::uint64_t length_bytes) const;
  std::unique_ptr<RangeLock::Guard> hold_for_change(std::uint64_t offset,
                                                    std::uint64_t length_bytes);
  void copy_what_is_missing(std::uint64_t offset, std::uint64_t length_bytes);
  void copy(std::uint64_t offset, std::uint64_t length_bytes);

  const std::unique_ptr<Image> image_;
  const bool copies_on_read_;
  /// A copy must not overwrite what was written since its source was read: it holds its clusters
  /// exclusively, and changes hold theirs shared.
  RangeLock busy_;
};

/// The error's name as the system has it: "Input/output error".
std::string error_name(const std::exception& error);

}  // namespace qcowkit::cli::io
