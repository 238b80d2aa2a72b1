#include "tests/interchange/image_kinds.h"

#include <fmt/core.h>

#include "tests/support/content.h"
#include "tests/support/reference_tools.h"

namespace qcowkit::test {

namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

CreateOptions qcow2(std::uint64_t size_bytes, std::uint64_t cluster_size_bytes) {
  CreateOptions options;
  options.format = "qcow2";
  options.cache = CacheMode::unsafe;
  options.size_bytes = size_bytes;
  options.cluster_size_bytes = cluster_size_bytes;
  return options;
}

CreateOptions version_2(CreateOptions options) {
  options.version = 2;
  return options;
}
CreateOptions extended(CreateOptions options) {
  options.extended_l2 = true;
  return options;
}
CreateOptions zstd(CreateOptions options) {
  options.compression = CompressionType::zstd;
  return options;
}
CreateOptions lazy(CreateOptions options) {
  options.lazy_refcounts = true;
  return options;
}
CreateOptions refcounts(CreateOptions options, std::uint32_t bits) {
  options.refcount_bits = bits;
  return options;
}
CreateOptions data_file_raw(CreateOptions options) {
  options.data_file_raw = true;
  return options;
}

/// Sizes that are no multiple of the cluster size, and cross from one L2 table to the next where
/// that is cheap.
const CreateOptions k512 = qcow2(101 * kKiB + 512, 512);
const CreateOptions k4K = qcow2(5 * kMiB / 2 + 512, 4 * kKiB);
const CreateOptions k16K = qcow2(3 * kMiB - 512, 16 * kKiB);
const CreateOptions k64K = qcow2(4 * kMiB + 1536, 64 * kKiB);
const CreateOptions k2M = qcow2(9 * kMiB + 512, 2 * kMiB);

const std::vector<ImageKind> kKinds = {
    {"Default", k64K},
    {"Version2", version_2(k64K)},
    {"Clusters512", k512},
    {"Clusters512Version2", version_2(k512)},
    {"Clusters4KZstd", zstd(k4K)},
    {"Clusters2M", k2M},
    {"RefcountBits1", refcounts(k4K, 1)},
    {"RefcountBits2", refcounts(k4K, 2)},
    {"RefcountBits8", refcounts(k4K, 8)},
    {"RefcountBits64", refcounts(k512, 64)},
    {"Extended64K", extended(k64K)},
    {"Extended16KZstd", zstd(extended(k16K))},
    {"Lazy", lazy(k4K)},
    {"DataFile", k4K, ImageKind::Backing::none, true},
    {"DataFileRaw", data_file_raw(k64K), ImageKind::Backing::none, true},
    {"DataFileExtended", extended(k16K), ImageKind::Backing::none, true},
    {"BackingRaw", k64K, ImageKind::Backing::raw},
    {"BackingQcow2", k4K, ImageKind::Backing::qcow2},
    {"BackingVersion2", version_2(k4K), ImageKind::Backing::qcow2},
    {"BackingExtended", extended(k64K), ImageKind::Backing::qcow2},
};

/// Shorter than the overlay, with data and holes.
std::string make_backing(const ImageKind& kind, const std::string& folder) {
  const std::string raw = folder + "/base.raw";
  const std::uint64_t size = *kind.options.size_bytes / 4 * 3 / 512 * 512;
  std::vector<std::byte> bytes(size);
  constexpr std::uint64_t kPart = 24 * kKiB;
  for (std::uint64_t at = 0; at < size; at += kPart) {
    fill_content(at / kPart, std::span(bytes).subspan(at, std::min(kPart, size - at)));
  }
  write_file(raw, bytes);
  if (kind.backing == ImageKind::Backing::raw) return "base.raw";
  qemu_img({"convert", "-c", "-f", "raw", "-O", "qcow2", raw, folder + "/base.qcow2"});
  return "base.qcow2";
}

std::string on_off(bool on) { return on ? "on" : "off"; }

}  // namespace

std::ostream& operator<<(std::ostream& out, const ImageKind& kind) { return out << kind.name; }

const std::vector<ImageKind>& image_kinds() { return kKinds; }

std::string make_by_reference(const ImageKind& kind, const std::string& folder) {
  const CreateOptions& o = kind.options;
  std::string options = fmt::format("cluster_size={}", o.cluster_size_bytes);
  if (o.version == 2) {
    options += ",compat=0.10";
  } else {
    options += fmt::format(
        ",compat=1.1,refcount_bits={},extended_l2={},lazy_refcounts={},compression_type={}",
        o.refcount_bits, on_off(o.extended_l2), on_off(o.lazy_refcounts),
        o.compression == CompressionType::zstd ? "zstd" : "zlib");
  }
  if (kind.data_file) {
    options +=
        fmt::format(",data_file={}/data.raw,data_file_raw={}", folder, on_off(o.data_file_raw));
  }
  const std::string path = folder + "/disk.qcow2";
  std::vector<std::string> arguments = {"create", "-q", "-f", "qcow2", "-o", options};
  if (kind.backing != ImageKind::Backing::none) {
    const std::string backing = make_backing(kind, folder);
    arguments.insert(arguments.end(), {"-b", backing, "-F",
                                       kind.backing == ImageKind::Backing::raw ? "raw" : "qcow2"});
  }
  arguments.insert(arguments.end(), {path, std::to_string(*o.size_bytes)});
  qemu_img(arguments);
  return path;
}

std::string make_by_us(const ImageKind& kind, const std::string& folder) {
  CreateOptions options = kind.options;
  if (kind.data_file) options.data_file = folder + "/data.raw";
  if (kind.backing != ImageKind::Backing::none) {
    options.backing_file = make_backing(kind, folder);
    options.backing_format = kind.backing == ImageKind::Backing::raw ? "raw" : "qcow2";
  }
  const std::string path = folder + "/disk.qcow2";
  Image::create(path, options);
  return path;
}

std::unique_ptr<Image> open_for_writing(const std::string& path) {
  OpenOptions options;
  options.format = "qcow2";
  options.read_only = false;
  options.cache = CacheMode::unsafe;
  options.l2_cache_bytes = 1;
  options.refcount_cache_bytes = 1;
  return Image::open(path, options);
}

}  // namespace qcowkit::test
