// Changing options of an existing image.
#include <fmt/core.h>

#include <bit>

#include "formats/qcow2/encryption.h"
#include "formats/qcow2/limits.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshots.h"
#include "formats/qcow2/zero_expansion.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint32_t kVersion2RefcountBits = 16;  // spec, Header

void require(bool holds, Errc code, const std::string& message) {
  if (!holds) throw Error(code, message);
}

/// Refuses what contradicts itself or the image before anything is changed.
void require_possible(const AmendOptions& options, const Header& header) {
  const std::uint32_t version = options.version.value_or(header.version);
  const std::uint32_t bits = options.refcount_bits.value_or(header.geometry().refcount_bits());
  require(version == 2 || version == 3, Errc::invalid_argument,
          fmt::format("compat is version {}, expected 2 (0.10) or 3 (1.1)", version));
  require(std::has_single_bit(bits) && bits <= 1u << kRefcountOrderMax, Errc::invalid_argument,
          "Refcount width must be a power of two and may not exceed 64 bits");
  if (version == 2) {
    require(bits == kVersion2RefcountBits, Errc::invalid_argument,
            options.refcount_bits
                ? "Refcount widths other than 16 bits require compatibility level "
                  "1.1 or above (use compat=1.1 or greater)"
                : "compat=0.10 requires refcount_bits=16");
    require(!options.lazy_refcounts.value_or(false), Errc::invalid_argument,
            "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 "
            "or greater)");
  }
  if (options.data_file || options.data_file_raw) {
    require(header.has(incompatible::kDataFile) || !options.data_file, Errc::invalid_argument,
            "data-file can only be set for images that use an external data file");
    require(header.data_file_raw() || !options.data_file_raw.value_or(false),
            Errc::invalid_argument, "data-file-raw cannot be set on existing images");
  }
  if (options.key_slot) {
    require(header.crypt_method == crypt_method::kLuks, Errc::invalid_argument,
            "Only LUKS encryption options can be amended for qcow2 with amend");
  }
  if (header.version == 3 && version == 2) {
    require(!header.has(incompatible::kDataFile), Errc::unsupported,
            "Cannot downgrade an image with a data file");
    const std::uint64_t features = header.incompatible_features & ~incompatible::kDirty;
    require(
        features == 0, Errc::unsupported,
        fmt::format("Cannot downgrade an image with incompatible features {:#x} set", features));
    require(!header.bitmaps.has_value(), Errc::unsupported,
            "Cannot downgrade an image with persistent bitmaps");
  }
}

void require_backing_reference(const Header& header) {
  require(header.backing_file.size() <= kBackingNameBytesMax, Errc::invalid_argument,
          fmt::format("backing_file has {} bytes, expected at most {}", header.backing_file.size(),
                      kBackingNameBytesMax));
  require(
      !header.backing_format || header.backing_format->size() <= kBackingFormatBytesMax,
      Errc::invalid_argument,
      fmt::format("backing_fmt is too long, expected at most {} bytes", kBackingFormatBytesMax));
  require(header.backing_file.empty() || !header.data_file_raw(), Errc::invalid_argument,
          "data_file_raw and backing_file exclude each other");
}

/// Applies what is only said by the header.
void change_fields(Header& header, const AmendOptions& options) {
  if (options.backing_file) {
    header.backing_file = *options.backing_file;
    if (header.backing_file.empty()) header.backing_format.reset();
  }
  if (options.backing_format) {
    header.backing_format.reset();
    if (!options.backing_format->empty()) header.backing_format = *options.backing_format;
  }
  require_backing_reference(header);
  if (options.data_file) {
    header.data_file.reset();
    if (!options.data_file->empty()) header.data_file = *options.data_file;
  }
  if (options.data_file_raw && !*options.data_file_raw) {
    header.autoclear_features &= ~autoclear::kDataFileRaw;
  }
  if (options.lazy_refcounts) {
    header.compatible_features &= ~compatible::kLazyRefcounts;
    if (*options.lazy_refcounts) header.compatible_features |= compatible::kLazyRefcounts;
  }
}

}  // namespace

void Qcow2Layer::amend(const AmendOptions& options) {
  change_alone([&] {
    bitmaps_.store();  // so that the header tells whether there are any
    const Header before = metadata_.header();
    require_possible(options, before);
    const std::uint32_t version = options.version.value_or(before.version);
    // Zeroes over a backing file become data, which may have to be encrypted.
    if (version == 2 && before.version == 3 && has_backing_name_) require_readable();
    if (version == 3 && before.version == 2) upgrade();
    if (options.refcount_bits) {
      const auto order = static_cast<std::uint32_t>(std::countr_zero(*options.refcount_bits));
      if (order != before.refcount_order) metadata_.change_refcount_width(order);
    }
    if (options.backing_file || options.backing_format || options.data_file ||
        options.data_file_raw || options.lazy_refcounts) {
      // With lazy refcounts, the refcounts on the disk become right before the header promises it.
      metadata_.close();
      metadata_.change_header([&](Header& header) { change_fields(header, options); });
      has_backing_name_ = !metadata_.header().backing_file.empty();
      metadata_.before_change();  // more changes may follow
    }
    if (options.key_slot) change_key_slots(*options.key_slot, options.force);
    if (options.size_bytes) resize_alone(*options.size_bytes, {Preallocation::off, true});
    if (version == 2 && before.version == 3) downgrade();
    if (options.progress) options.progress(1.0);
  });
}

void Qcow2Layer::upgrade() {
  // Version 3 wants extra data of every snapshot.
  Snapshots(metadata_).rewrite();
  metadata_.change_header([](Header& header) { header.version = 3; });
  metadata_.map().adopt(metadata_.map().l1_table(), metadata_.header());
}

void Qcow2Layer::downgrade() {
  // A cluster that two tables share loses its references one by one.
  metadata_.set_unclean();
  expand_zero_flags(metadata_, has_backing_name_, [&](GuestOffset guest, HostOffset host) {
    write_zero_data(guest, host, geometry_.cluster_size());
  });
  metadata_.close();
  metadata_.change_header([&](Header& header) {
    metadata_.set_clean(header);
    header.version = 2;
    header.incompatible_features = 0;
    header.compatible_features = 0;
    header.autoclear_features = 0;
  });
  metadata_.map().adopt(metadata_.map().l1_table(), metadata_.header());
}

void Qcow2Layer::change_key_slots(KeySlotChange change, bool force) {
  require_readable();
  change.force = change.force || force;
  crypto::LuksVolume volume(luks_area(metadata_.header(), *storage_));
  volume.change_key_slots(*secret_, change);
}

}  // namespace qcowkit::qcow2
