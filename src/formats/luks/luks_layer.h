// A plain LUKS version 1 volume: a header with key slots, and behind it the disk, encrypted.
#pragma once

#include <atomic>
#include <memory>

#include "base/mutex.h"
#include "crypto/luks.h"
#include "formats/layer.h"
#include "formats/sector_traffic.h"

namespace qcowkit::luks {

/// Thread-safe. What was never written reads as noise: bytes that decrypt to zeroes are not stored
/// by creating or growing a volume, and giving host space back would destroy them. Without a
/// passphrase, only metadata can be asked for and changed.
class LuksLayer final : public Layer {
 public:
  /// Throws `Error` for a header that makes no sense, and if `secret`, which may be null, opens no
  /// key slot.
  LuksLayer(std::unique_ptr<Storage> storage, bool read_only, std::shared_ptr<const Secret> secret);

  std::uint64_t virtual_size() const noexcept override { return virtual_size_; }
  std::uint64_t cluster_size() const noexcept override { return 0; }
  bool is_read_only() const noexcept override { return read_only_; }
  bool is_encrypted() const noexcept override { return true; }
  Storage& storage() const noexcept override { return *storage_; }

  LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                      std::span<std::byte> into) override;
  void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                       std::span<std::byte> into) override;
  void write(GuestOffset guest_offset, std::span<const std::byte> from) override;
  void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) override;
  void discard(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  /// What `fill` writes goes through memory, in runs of limited length.
  void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                      const Image::FillRun& fill) override;
  CompressedCluster compress(std::span<const std::byte> cluster, int level) const override;
  void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain) override;
  void flush() override;
  void describe(ImageInfo& info) const override;
  CheckReport check(const CheckOptions& options) override;
  void resize(std::uint64_t size_bytes, const ResizeOptions& options) override;
  /// Changes key slots; there is nothing else to change.
  void amend(const AmendOptions& options) override;
  void close() override;

 private:
  void require_writable() const;
  /// To be asked once nobody can change the size any more.
  void require_inside(GuestOffset guest_offset, std::uint64_t length_bytes) const;
  /// Throws `Error` unless there was a passphrase.
  const crypto::SectorCipher& cipher() const;
  HostOffset host_offset(GuestOffset guest_offset) const noexcept {
    return {payload_offset_bytes_ + guest_offset.value};
  }

  // Constant after construction.
  const std::unique_ptr<Storage> storage_;
  const bool read_only_;
  const std::shared_ptr<const Secret> secret_;
  mutable Mutex volume_mutex_;
  crypto::LuksVolume volume_ GUARDED_BY(volume_mutex_);
  const std::uint64_t payload_offset_bytes_;
  const std::unique_ptr<const crypto::SectorCipher> cipher_;  // null without a passphrase

  std::atomic<std::uint64_t> virtual_size_;
  SectorTraffic traffic_;
};

/// Throws `Error` (invalid_argument or unsupported) where no such volume can be made.
void validate_create_options(const CreateOptions& options);

/// Makes a new volume of `storage`, which is emptied; durable on return. Throws as above.
void create_image(Storage& storage, const CreateOptions& options);

}  // namespace qcowkit::luks
