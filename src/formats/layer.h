// What a format is to the floors above it: one layer of a virtual disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/offsets.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// How one layer stores a run of guest bytes.
struct LayerExtent {
  ExtentKind kind = ExtentKind::unallocated;  ///< `unallocated`: the backing file decides
  std::uint64_t length_bytes = 0;             ///< at least 1
  HostOffset host_offset{};    ///< data: of the run's first byte in `storage`; compressed: of the
                               ///< cluster's compressed bytes
  Storage* storage = nullptr;  ///< data, preallocated zero
  bool has_host_offset = false;
  std::uint32_t compressed_bytes = 0;  ///< compressed: upper bound of the stream's length
};

/// One open image file of one format. Thread-safe but for `set_backing` and `close`. Ranges lie
/// within `virtual_size()` (the caller has checked).
class Layer {
 public:
  virtual ~Layer() = default;
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // Through this layer and those behind it. Past the end reads as zeroes.

  /// Fills `into` from `guest_offset` on.
  void read(GuestOffset guest_offset, std::span<std::byte> into);
  /// True if the whole range is known, without reading data, to be zeroes.
  bool is_known_zero(GuestOffset guest_offset, std::uint64_t length_bytes);
  /// What unallocated clusters read from; null: zeroes. Set once, before any I/O.
  void set_backing(Layer* backing) noexcept { backing_ = backing; }

  // This layer alone.

  virtual std::uint64_t virtual_size() const noexcept = 0;
  virtual std::uint64_t cluster_size() const noexcept = 0;  ///< 0: no clusters
  virtual bool is_read_only() const noexcept = 0;
  virtual Storage& storage() const noexcept = 0;
  virtual Storage& data_storage() const noexcept { return storage(); }

  /// How the range's first byte is stored, and for how many bytes that holds.
  virtual LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) = 0;
  /// Reads from one compressed cluster, as `map` told of it: `into.size()` bytes from
  /// `guest_offset` on.
  virtual void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                               std::span<std::byte> into) = 0;

  /// Host clusters that `map` told of are not used for anything else between `pin` and `unpin`.
  virtual std::uint32_t pin() noexcept { return 0; }
  virtual void unpin(std::uint32_t /*slot*/) noexcept {}

  virtual void write(GuestOffset guest_offset, std::span<const std::byte> from) = 0;
  virtual void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                            bool may_unmap) = 0;
  virtual void discard(GuestOffset guest_offset, std::uint64_t length_bytes) = 0;
  virtual void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                              const Image::FillRun& fill) = 0;
  virtual CompressedCluster compress(std::span<const std::byte> cluster, int level) const = 0;
  virtual void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                                std::span<const std::byte> plain) = 0;

  virtual void flush() = 0;
  virtual void describe(ImageInfo& info) const = 0;
  virtual CheckReport check(const CheckOptions& options) = 0;
  virtual void close() = 0;

 protected:
  Layer* backing() const noexcept { return backing_; }

 private:
  void read_run(GuestOffset guest_offset, const LayerExtent& extent, std::span<std::byte> into);

  Layer* backing_ = nullptr;
};

}  // namespace qcowkit
