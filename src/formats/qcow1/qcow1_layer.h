// One open image file of version 1: the guest's requests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "crypto/sector_cipher.h"
#include "formats/decompressed_cache.h"
#include "formats/encrypted_io.h"
#include "formats/guest_range_lock.h"
#include "formats/layer.h"
#include "formats/qcow1/header.h"
#include "formats/qcow1/metadata.h"
#include "formats/qcow1/readers.h"
#include "formats/request_gate.h"
#include "formats/sector_traffic.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow1 {

struct LayerOptions {
  bool read_only = true;
  std::uint64_t l2_cache_bytes = 0;  ///< 0: the default
  std::shared_ptr<const Secret> secret;
};

/// Thread-safe but for `set_backing` and `close`. README.md tells how a write goes and what is
/// ordered how.
class Qcow1Layer final : public Layer {
 public:
  /// `header` has been read from `storage`. An encrypted image without its secret only tells of
  /// itself. Throws `Error`: invalid_argument if there is a secret and nothing encrypted, I/O
  /// errors.
  Qcow1Layer(std::unique_ptr<Storage> storage, const Header& header, const LayerOptions& options);
  ~Qcow1Layer() override;

  /// Reads and checks the header of the image in `storage`, and that what it names lies inside.
  static Header read_header(Storage& storage);

  std::uint64_t virtual_size() const noexcept override { return virtual_size_; }
  std::uint64_t cluster_size() const noexcept override { return geometry_.cluster_size(); }
  bool is_read_only() const noexcept override { return read_only_; }
  bool is_encrypted() const noexcept override { return is_encrypted_; }
  Storage& storage() const noexcept override { return *storage_; }

  LayerExtent map(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                       std::span<std::byte> into) override;
  void read_encrypted(GuestOffset guest_offset, const LayerExtent& extent,
                      std::span<std::byte> into) override;
  std::uint32_t pin() noexcept override { return readers_.enter(); }
  void unpin(std::uint32_t slot) noexcept override { readers_.leave(slot); }

  void write(GuestOffset guest_offset, std::span<const std::byte> from) override;
  /// The format has no entry for zeroes: clusters without backing content stay unallocated or are
  /// unlinked, all others hold zeroes.
  void write_zeroes(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap) override;
  /// Does nothing over a backing file, whose content would come back.
  void discard(GuestOffset guest_offset, std::uint64_t length_bytes) override;
  void write_in_place(GuestOffset guest_offset, std::uint64_t length_bytes,
                      const Image::FillRun& fill) override;
  CompressedCluster compress(std::span<const std::byte> cluster, int level) const override;
  /// A cluster that has a host cluster is written there, plain: nothing else could ever use it.
  void write_compressed(GuestOffset guest_offset, const CompressedCluster& compressed,
                        std::span<const std::byte> plain) override;

  void flush() override;
  void describe(ImageInfo& info) const override;
  void make_empty() override;
  void invalidate() override;
  void close() override;

 private:
  struct WritePlan;

  void require_readable() const;
  void before_change();
  GuestOffset cluster_start(GuestOffset o) const noexcept {
    return {align_down(o.value, geometry_.cluster_size())};
  }
  /// Of the cluster that ends at or behind `o`.
  GuestOffset cluster_end(GuestOffset o) const noexcept {
    return {align_up(o.value, geometry_.cluster_size())};
  }
  /// Bytes from `o` to the end of what its L2 table describes.
  std::uint64_t left_in_table(GuestOffset o) const noexcept {
    return geometry_.l1_entry_covers() - (o.value & (geometry_.l1_entry_covers() - 1));
  }
  void decompress(const LayerExtent& extent, std::span<std::byte> cluster) const;
  bool readers_leave() const;

  // qcow1_write.cc
  using MoveRun = std::function<void(const WritePlan& plan, GuestOffset begin, GuestOffset end)>;
  void write_bytes(GuestOffset guest_offset, std::span<const std::byte> from);
  std::uint64_t overwrite(GuestOffset guest_offset, std::span<const std::byte> from);
  std::uint64_t allocate_and_move(GuestOffset begin, GuestOffset end, const MoveRun& move);
  WritePlan plan_write(GuestOffset begin, GuestOffset end);
  void reserve(WritePlan& plan);
  void move_with_copy(const WritePlan& plan, GuestOffset begin, std::span<const std::byte> from);

  // qcow1_encryption.cc
  EncryptedRun encrypted_run(GuestOffset guest_offset, HostOffset host_offset) const;
  void write_data(GuestOffset guest_offset, HostOffset host_offset,
                  std::span<const std::byte> from);
  void write_zero_data(GuestOffset guest_offset, HostOffset host_offset, std::uint64_t length_bytes,
                       bool may_unmap);

  // qcow1_compressed.cc
  bool append_compressed(GuestOffset cluster, std::span<const std::byte> stream);

  // qcow1_zero.cc
  void zero_range(GuestOffset guest_offset, std::uint64_t length_bytes, bool may_unmap);
  std::uint64_t zero_part(GuestOffset begin, std::uint64_t length_bytes, bool may_unmap);
  std::uint64_t zero_in_place(GuestOffset begin, std::uint64_t length_bytes, bool may_unmap);
  std::uint64_t allocate_zeroes(GuestOffset begin, GuestOffset end);
  std::uint64_t unlink_compressed(GuestOffset cluster);

  // Constant after construction.
  std::unique_ptr<Storage> storage_;
  const Geometry geometry_;
  const std::uint64_t virtual_size_;
  const bool read_only_;
  const bool is_encrypted_;
  const bool has_backing_name_;
  const std::unique_ptr<crypto::SectorCipher> cipher_;  ///< null: not encrypted, or no secret

  Metadata metadata_;
  DecompressedCache decompressed_;
  Readers readers_;
  RequestGate gate_;       // changing requests, beside a change of the image as a whole
  GuestRangeLock ranges_;  // mappings being changed
  SectorTraffic traffic_;  // of encrypted sectors

  bool closed_ = false;
};

}  // namespace qcowkit::qcow1
