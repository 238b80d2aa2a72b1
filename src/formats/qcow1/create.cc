#include "formats/qcow1/create.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <span>

#include "formats/qcow1/header.h"
#include "formats/qcow1/limits.h"

namespace qcowkit::qcow1 {

namespace {

// As the reference. Over a backing file little is copied on write, and the tables are larger in
// return.
constexpr std::uint32_t kClusterBits = 12;
constexpr std::uint32_t kL2Bits = 9;
constexpr std::uint32_t kClusterBitsOverBacking = 9;
constexpr std::uint32_t kL2BitsOverBacking = 12;

void set_shape(Header& header, const CreateOptions& options) {
  const std::uint64_t cluster_bytes = options.cluster_size_bytes;
  if (cluster_bytes == 0) {
    header.cluster_bits = options.backing_file.empty() ? kClusterBits : kClusterBitsOverBacking;
    header.l2_bits = options.backing_file.empty() ? kL2Bits : kL2BitsOverBacking;
    return;
  }
  if (!std::has_single_bit(cluster_bytes) || cluster_bytes < 1u << kClusterBitsMin ||
      cluster_bytes > 1u << kClusterBitsMax) {
    throw Error(Errc::invalid_argument,
                fmt::format("Cluster size is {}, expected a power of two between {} and {}",
                            cluster_bytes, 1u << kClusterBitsMin, 1u << kClusterBitsMax));
  }
  header.cluster_bits = static_cast<std::uint32_t>(std::countr_zero(cluster_bytes));
  header.l2_bits = header.cluster_bits - 3;  // a table fills a cluster
}

Header header_for(const CreateOptions& options) {
  Header header;
  const std::uint64_t size = options.size_bytes.value_or(0);
  if (size == 0) {
    throw Error(Errc::invalid_argument, "Image size is too small, cannot be zero length");
  }
  if (!options.data_file.empty()) {
    throw Error(Errc::invalid_argument, "a qcow image cannot have an external data file");
  }
  if (options.encryption == EncryptionFormat::luks) {
    throw Error(Errc::unsupported, "Unsupported encryption format");
  }
  if (options.encryption == EncryptionFormat::aes) {
    if (options.secret == nullptr) {
      throw Error(Errc::invalid_argument, "Parameter 'encrypt.key-secret' is required for cipher");
    }
    header.crypt_method = CryptMethod::aes;
  }
  header.backing_file = options.backing_file;
  set_shape(header, options);
  const std::uint64_t entries_max = kL1TableBytesMax / sizeof(std::uint64_t);
  const std::uint64_t size_max = entries_max * header.geometry().l1_entry_covers();
  if (size > size_max) {
    throw Error(Errc::limit_exceeded,
                fmt::format("Image size is {}, expected at most {} with clusters of {} bytes", size,
                            size_max, header.geometry().cluster_size()));
  }
  header.size = align_up(size, kSectorBytes);
  header.lay_out();
  return header;
}

}  // namespace

void validate_create_options(const CreateOptions& options) { header_for(options); }

void create_image(Storage& storage, const CreateOptions& options) {
  const Header header = header_for(options);
  const std::vector<std::byte> bytes = header.encode();
  const auto first_sector =
      std::span(bytes).first(std::min<std::size_t>(bytes.size(), kSectorBytes));
  storage.resize(0, Preallocation::off);
  storage.write_zeroes(0, header.l1_table_end().value, {.may_unmap = true});
  storage.write(first_sector.size(), std::span(bytes).subspan(first_sector.size()));
  // The first sector makes the file an image: it comes last.
  storage.flush();
  storage.write(0, first_sector);
  storage.flush();
}

}  // namespace qcowkit::qcow1
