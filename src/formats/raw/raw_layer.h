// A raw image: guest bytes lie where they lie on the host.
#pragma once

#include <atomic>
#include <memory>

#include "formats/layer.h"

namespace qcowkit::raw {

/// Thread-safe. The virtual size is the storage's size rounded up to whole sectors of 512 bytes, as
/// the reference has it.
class RawLayer final : public Layer {
 public:
  RawLayer(std::unique_ptr<Storage> storage, bool read_only);

  std::uint64_t virtual_size() const noexcept override { return virtual_size_.load(); }
  std::uint64_t cluster_size() const noexcept override { return 0; }
  bool is_read_only() const noexcept override { return read_only_; }
  Storage& storage() const noexcept override { return *storage_; }

  LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                       std::span<std::byte> into) override;
  void write(GuestOffset guest_offset, std::span<const std::byte> from) override;
  void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) override;
  bool try_write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes,
                        bool may_unmap) override;
  void discard(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                      const Image::FillRun& fill) override;
  CompressedCluster compress(std::span<const std::byte> cluster, int level) const override;
  void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain) override;
  void flush() override;
  void describe(ImageInfo& info) const override;
  CheckReport check(const CheckOptions& options) override;
  void resize(std::uint64_t size_bytes, const ResizeOptions& options) override;
  void close() override;

 protected:
  /// One read of the storage, holes and all: finding out about them costs more than reading does.
  void read_inside(GuestOffset guest_offset, std::span<std::byte> into) override;

 private:
  void require_writable() const;

  std::unique_ptr<Storage> storage_;
  std::atomic<std::uint64_t> virtual_size_;
  const bool read_only_;
};

}  // namespace qcowkit::raw
