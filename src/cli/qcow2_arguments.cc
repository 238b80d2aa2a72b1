// The -o options that only qcow2 has.
#include "cli/qcow2_arguments.h"

#include <fmt/core.h>

#include <bit>

#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kClusterBytesMin = 512;
constexpr std::uint64_t kClusterBytesMax = 2 << 20;
constexpr std::uint64_t kExtendedL2ClusterBytesMin = 16 << 10;
constexpr std::uint32_t kRefcountBitsMax = 64;
constexpr std::uint32_t kRefcountBitsDefault = 16;

CompressionType parse_compression(std::string_view text) {
  if (text == "zlib") return CompressionType::deflate;
  if (text == "zstd") return CompressionType::zstd;
  throw not_accepted("compression-type", text);
}

void require(bool holds, const std::string& message) {
  if (!holds) throw Failure(message);
}

/// `what` needs version 3.
void require_version_3(const CreateOptions& options, bool is_wanted, std::string_view what) {
  require(!is_wanted || options.version >= 3,
          fmt::format("{} compatibility level 1.1 and above (use version=v3 or greater)", what));
}

/// The library would refuse all this as well, but it speaks of its own options.
void check(const CreateOptions& options) {
  const bool has_backing_file = !options.backing_file.empty();
  require_version_3(options, options.extended_l2, "Extended L2 entries are only supported with");
  require(!options.extended_l2 || options.cluster_size_bytes == 0 ||
              options.cluster_size_bytes >= kExtendedL2ClusterBytesMin,
          fmt::format("Extended L2 entries are only supported with cluster sizes of at least {} "
                      "bytes",
                      kExtendedL2ClusterBytesMin));
  require(!has_backing_file || options.preallocation == Preallocation::off || options.extended_l2,
          "Backing file and preallocation can only be used at the same time if extended_l2 is on");
  require_version_3(options, options.lazy_refcounts, "Lazy refcounts only supported with");
  require(std::has_single_bit(options.refcount_bits) && options.refcount_bits <= kRefcountBitsMax,
          "Refcount width must be a power of two and may not exceed 64 bits");
  require(options.version >= 3 || options.refcount_bits == kRefcountBitsDefault,
          "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
          "version=v3 or greater)");
  require(!options.data_file_raw || !options.data_file.empty(), "data-file-raw requires data-file");
  require(!options.data_file_raw || !has_backing_file,
          "Backing file and data-file-raw cannot be used at the same time");
  require_version_3(options, !options.data_file.empty(),
                    "External data files are only supported with");
  require_version_3(options, options.compression != CompressionType::deflate,
                    "Non-zlib compression type is only supported with");
}

}  // namespace

void set_qcow2_version(const OptionValues& values, CreateOptions& options) {
  const std::optional<std::string> text = values.get("compat");
  if (!text) return;
  if (*text == "v2" || *text == "0.10") {
    options.version = 2;
  } else if (*text == "v3" || *text == "1.1") {
    options.version = 3;
  } else {
    throw not_accepted("version", *text);
  }
}

void set_qcow2_options(const OptionValues& values, NewImage purpose, CreateOptions& options) {
  if (const auto type = values.get("compression_type")) {
    options.compression = parse_compression(*type);
  }
  if (const auto size = values.number("cluster_size")) {
    options.cluster_size_bytes = *size;
    require(std::has_single_bit(*size) && *size >= kClusterBytesMin && *size <= kClusterBytesMax,
            "Cluster size must be a power of two between 512 and 2048k");
  }
  if (const auto bits = values.small_number("refcount_bits")) options.refcount_bits = *bits;
  options.lazy_refcounts = values.is_on("lazy_refcounts");
  options.extended_l2 = values.is_on("extended_l2");
  options.data_file = values.get("data_file").value_or("");
  options.data_file_raw = values.is_on("data_file_raw");
  if (purpose == NewImage::created) check(options);
  if (values.has("data_file") && options.data_file.empty()) {
    throw Failure("Could not create '': No such file or directory");
  }
}

}  // namespace qcowkit::cli
