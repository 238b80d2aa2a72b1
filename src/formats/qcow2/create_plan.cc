#include "formats/qcow2/create_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <string>
#include <string_view>

#include "crypto/luks.h"
#include "formats/qcow2/limits.h"
#include "qcowkit/error.h"

namespace qcowkit::qcow2 {

namespace {

constexpr std::uint64_t kClusterSizeDefault = 65536;
constexpr std::uint32_t kRefcountBitsMax = 1u << kRefcountOrderMax;
constexpr std::uint32_t kRefcountBitsVersion2 = 16;

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(Errc::invalid_argument, message);
}

/// Options that version 2 has no field for.
void require_version_3(const CreateOptions& options) {
  if (options.version == 3) return;
  require(options.version == 2,
          fmt::format("compat is version {}, expected 2 (0.10) or 3 (1.1)", options.version));
  const auto refuse_if = [](bool given, std::string_view option) {
    require(!given, fmt::format("{} needs version 3 (compat=1.1)", option));
  };
  refuse_if(options.refcount_bits != kRefcountBitsVersion2, "refcount_bits other than 16");
  refuse_if(options.lazy_refcounts, "lazy_refcounts");
  refuse_if(options.extended_l2, "extended_l2");
  refuse_if(options.compression != CompressionType::deflate,
            "compression_type other than zlib (deflate)");
  refuse_if(!options.data_file.empty(), "data_file");
}

void check_widths(const CreateOptions& options, std::uint64_t cluster_size) {
  constexpr std::uint64_t kClusterSizeMin = std::uint64_t{1} << kClusterBitsMin;
  constexpr std::uint64_t kClusterSizeMax = std::uint64_t{1} << kClusterBitsMax;
  constexpr std::uint64_t kExtendedL2ClusterSizeMin = std::uint64_t{1} << kExtendedL2ClusterBitsMin;
  require(std::has_single_bit(cluster_size) && cluster_size >= kClusterSizeMin &&
              cluster_size <= kClusterSizeMax,
          fmt::format("cluster_size is {}, expected a power of two from {} to {}", cluster_size,
                      kClusterSizeMin, kClusterSizeMax));
  require(std::has_single_bit(options.refcount_bits) && options.refcount_bits <= kRefcountBitsMax,
          fmt::format("refcount_bits is {}, expected a power of two from 1 to {}",
                      options.refcount_bits, kRefcountBitsMax));
  require(!options.extended_l2 || cluster_size >= kExtendedL2ClusterSizeMin,
          fmt::format("cluster_size is {}, expected at least {} with extended_l2", cluster_size,
                      kExtendedL2ClusterSizeMin));
}

void check_name(std::string_view option, const std::string& name, std::size_t bytes_max) {
  require(name.size() <= bytes_max,
          fmt::format("{} has {} bytes, expected at most {}", option, name.size(), bytes_max));
  require(name.find('\0') == std::string::npos, fmt::format("{} has a zero byte", option));
}

void check_references(const CreateOptions& options, std::uint64_t cluster_size) {
  check_name("backing_file", options.backing_file, kBackingNameBytesMax);
  check_name("backing_fmt", options.backing_format, kBackingFormatBytesMax);
  check_name("data_file", options.data_file, cluster_size);
  const bool has_backing_file = !options.backing_file.empty();
  require(has_backing_file || options.backing_format.empty(), "backing_fmt needs backing_file");
  require(!options.data_file_raw || !options.data_file.empty(), "data_file_raw needs data_file");
  require(!options.data_file_raw || !has_backing_file,
          "data_file_raw and backing_file exclude each other");
  require(!has_backing_file || options.preallocation == Preallocation::off || options.extended_l2,
          "preallocation with backing_file needs extended_l2: whole clusters would hide the "
          "backing file");
}

void check_size(const CreateOptions& options, const Geometry& g) {
  require(options.size_bytes.has_value(), "size is missing");
  const std::uint64_t size_max =
      std::min(kVirtualSizeMax, kL1TableBytesMax / 8 * g.l1_entry_covers());
  require(*options.size_bytes <= size_max,
          fmt::format("size is {}, expected at most {} with a cluster_size of {}{}",
                      *options.size_bytes, size_max, g.cluster_size(),
                      g.extended_l2() ? " and extended_l2" : ""));
}

/// The header that the options ask for; its tables have no place yet.
Header make_header(const CreateOptions& options) {
  const std::uint64_t cluster_size =
      options.cluster_size_bytes == 0 ? kClusterSizeDefault : options.cluster_size_bytes;
  require_version_3(options);
  check_widths(options, cluster_size);
  check_references(options, cluster_size);

  Header header;
  header.version = options.version;
  header.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster_size));
  header.refcount_order = static_cast<std::uint32_t>(std::countr_zero(options.refcount_bits));
  header.compression_type = options.compression;
  header.backing_file = options.backing_file;
  if (!options.backing_format.empty()) header.backing_format = options.backing_format;
  if (!options.data_file.empty()) {
    header.data_file = options.data_file;
    header.incompatible_features |= incompatible::kDataFile;
  }
  if (options.compression != CompressionType::deflate) {
    header.incompatible_features |= incompatible::kCompressionType;
  }
  if (options.extended_l2) header.incompatible_features |= incompatible::kExtendedL2;
  if (options.lazy_refcounts) header.compatible_features |= compatible::kLazyRefcounts;
  if (options.data_file_raw) header.autoclear_features |= autoclear::kDataFileRaw;
  if (options.encryption != EncryptionFormat::none) {
    require(options.secret != nullptr, "Parameter 'encrypt.key-secret' is required for cipher");
    header.crypt_method =
        options.encryption == EncryptionFormat::luks ? crypt_method::kLuks : crypt_method::kAes;
  }
  check_size(options, header.geometry());
  header.size = *options.size_bytes;
  return header;
}

/// 0 unless the image is to be encrypted with LUKS.
std::uint64_t encryption_header_bytes(const CreateOptions& options) {
  return options.encryption == EncryptionFormat::luks ? crypto::luks_header_bytes(options.luks) : 0;
}

Layout plan_tables(const CreateOptions& options, const Header& header) {
  const Geometry g = header.geometry();
  const bool has_data_file = header.data_file.has_value();
  const bool allocates = options.preallocation != Preallocation::off;
  const auto refuse_preallocation = [&] {
    throw Error(Errc::invalid_argument,
                fmt::format("size is {}, too large for preallocation with a cluster_size of {} and "
                            "refcount_bits of {}",
                            header.size, g.cluster_size(), g.refcount_bits()));
  };
  if (allocates && header.size >= kHostOffsetEnd) refuse_preallocation();
  Layout layout = plan_layout({
      .geometry = g,
      .virtual_size_bytes = header.size,
      // A raw external data file is mapped whole, so that no write needs to map it.
      .l2_tables = allocates || options.data_file_raw,
      .data = allocates && !has_data_file,
      .encryption_header_clusters = g.clusters_for(encryption_header_bytes(options)),
      .order = provides_space(options.preallocation) && !has_data_file ? LayoutOrder::in_one_piece
                                                                       : LayoutOrder::interleaved,
  });
  if (layout.refcount_table_clusters > kRefcountTableBytesMax >> g.cluster_bits() ||
      layout.file_bytes > kHostOffsetEnd) {
    refuse_preallocation();
  }
  if (has_data_file && !layout.l2_tables.empty()) {
    layout.data = {{0, 0, g.clusters_for(header.size)}};  // of the data file
  }
  return layout;
}

}  // namespace

CreatePlan::CreatePlan(const CreateOptions& options)
    : header(make_header(options)), layout(plan_tables(options, header)) {
  const std::uint32_t cluster_bits = header.cluster_bits;
  header.l1_size = static_cast<std::uint32_t>(layout.l1_entries);
  header.l1_table_offset = {layout.l1_table_cluster << cluster_bits};
  header.refcount_table_offset = {layout.refcount_table_cluster << cluster_bits};
  header.refcount_table_clusters = static_cast<std::uint32_t>(layout.refcount_table_clusters);
  if (layout.encryption_header_cluster != 0) {
    header.encryption = {{layout.encryption_header_cluster << cluster_bits},
                         encryption_header_bytes(options)};
  }
  header_bytes = header.encode();
}

}  // namespace qcowkit::qcow2
