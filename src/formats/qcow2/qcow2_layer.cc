// Opening, reading, describing, checking and closing an image.
#include "formats/qcow2/qcow2_layer.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "codec/compression.h"
#include "formats/qcow2/check.h"
#include "formats/qcow2/describe.h"
#include "formats/qcow2/encryption.h"
#include "formats/qcow2/limits.h"
#include "formats/require_inside.h"

namespace qcowkit::qcow2 {

namespace {

/// Nearly all headers end in them, whatever the cluster's size.
constexpr std::uint64_t kFirstReadBytes = 4096;

/// What an image must fulfil before it is used, beyond what its header says of itself. Repairs what
/// has to be repaired before writing; returns the header as it then is.
Header prepare(Storage& storage, Header header, const LayerOptions& options) {
  if (options.for_check) return header;
  require_inside(storage, "L1 table", header.l1_table_offset, std::uint64_t{header.l1_size} * 8);
  if (options.read_only) return header;
  if (header.has(incompatible::kCorrupt)) {
    throw Error(Errc::corrupt,
                "the image is marked corrupt and cannot be opened for writing; check and repair it "
                "first");
  }
  require_inside(storage, "refcount table", header.refcount_table_offset,
                 header.refcount_table_clusters * header.geometry().cluster_size());
  if (!header.has(incompatible::kDirty)) return header;
  const CheckReport report = check_image(storage, header, {Repair::all, {}, {}});
  if (report.corruptions != 0 || report.check_errors != 0) {
    throw Error(Errc::corrupt, fmt::format("the image was not closed cleanly and could not be "
                                           "repaired: {} errors are left",
                                           report.corruptions + report.check_errors));
  }
  return Qcow2Layer::read_header(storage);
}

MetadataOptions metadata_options(const LayerOptions& options) {
  MetadataOptions metadata = options.metadata;
  metadata.read_only = options.read_only;
  return metadata;
}

}  // namespace

Header Qcow2Layer::read_header(Storage& storage, bool for_check) {
  const std::uint64_t file_size = storage.size();
  std::vector<std::byte> bytes(std::min(file_size, kFirstReadBytes));
  storage.read(0, bytes);
  const std::uint64_t wanted = std::min(file_size, Header::bytes_wanted(bytes));
  if (wanted > bytes.size()) {
    bytes.resize(wanted);
    storage.read(0, bytes);
  }
  return Header::decode(bytes, for_check);
}

Qcow2Layer::Qcow2Layer(std::unique_ptr<Storage> storage, std::unique_ptr<Storage> data_file,
                       Header header, const LayerOptions& options)
    : storage_(std::move(storage)),
      data_file_(std::move(data_file)),
      geometry_(header.geometry()),
      read_only_(options.read_only),
      compression_type_(header.compression_type),
      crypt_method_(header.crypt_method),
      secret_(options.secret),
      has_backing_name_(!header.backing_file.empty()),
      uses_data_file_(header.has(incompatible::kDataFile)),
      data_file_raw_(header.data_file_raw()),
      virtual_size_(header.size),
      metadata_(*storage_, data_file_.get(), prepare(*storage_, std::move(header), options),
                metadata_options(options)),
      bitmaps_(metadata_),
      decompressed_(geometry_.cluster_size()) {
  if (is_encrypted() && secret_) cipher_ = make_cipher(metadata_.header(), *storage_, *secret_);
  metadata_.on_free([this](HostOffset host_offset, std::uint64_t bytes) {
    decompressed_.forget(host_offset, bytes);
  });
}

Qcow2Layer::~Qcow2Layer() = default;

void Qcow2Layer::require_readable() const {
  if (is_encrypted() && cipher_ == nullptr) {
    throw Error(Errc::invalid_argument, "Parameter 'encrypt.key-secret' is required for cipher");
  }
  if (uses_data_file() && !data_file_) {
    throw Error(Errc::invalid_argument, "the image's external data file has not been opened");
  }
}

void Qcow2Layer::require_writable() const {
  if (read_only_) throw Error(Errc::read_only, "the image is open read-only");
}

std::uint32_t Qcow2Layer::subclusters_in(GuestOffset cluster, GuestOffset begin,
                                         GuestOffset end) const noexcept {
  const GuestOffset cluster_end = cluster + geometry_.cluster_size();
  const std::uint64_t from = std::max(begin, cluster) - cluster;
  const std::uint64_t to = std::min(end, cluster_end) - cluster;
  const auto first = static_cast<std::uint32_t>(from >> geometry_.subcluster_bits());
  const auto last = static_cast<std::uint32_t>((to - 1) >> geometry_.subcluster_bits());
  const std::uint32_t up_to_last = last == 31 ? 0xffffffffu : (1u << (last + 1)) - 1;
  return up_to_last & ~((1u << first) - 1);
}

// --- Reading -----------------------------------------------------------------------------------

LayerExtent Qcow2Layer::map(GuestOffset guest_offset, std::uint64_t length_bytes) {
  require_readable();
  metadata_.clean_caches();
  LayerExtent extent = metadata_.map().find(guest_offset, length_bytes);
  extent.is_encrypted = extent.kind == ExtentKind::data && is_encrypted();
  return extent;
}

std::size_t Qcow2Layer::map_runs(GuestOffset guest_offset, std::uint64_t length_bytes,
                                 std::span<LayerExtent> into) {
  require_readable();
  metadata_.clean_caches();
  const std::size_t count = metadata_.map().find_runs(guest_offset, length_bytes, into);
  if (is_encrypted()) {
    for (LayerExtent& run : into.first(count)) run.is_encrypted = run.kind == ExtentKind::data;
  }
  return count;
}

std::shared_ptr<const Buffer> Qcow2Layer::decompress(const LayerExtent& extent) const {
  thread_local std::vector<std::byte> stream;
  stream.resize(extent.compressed_bytes);
  storage_->raise(Event::read_compressed, extent.host_offset.value, stream.size());
  storage_->read(extent.host_offset.value, stream);
  auto cluster = std::make_shared<Buffer>(geometry_.cluster_size());
  if (!codec::decompress(compression_type_, stream, cluster->span())) {
    throw Error(
        Errc::corrupt,
        fmt::format("compressed cluster at host offset {:#x}: {} bytes do not "
                    "decompress to a cluster of {} bytes",
                    extent.host_offset.value, extent.compressed_bytes, geometry_.cluster_size()));
  }
  return cluster;
}

void Qcow2Layer::read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                                 std::span<std::byte> into) {
  const std::uint64_t in_cluster = geometry_.in_cluster(guest_offset.value);
  std::shared_ptr<const Buffer> cluster = decompressed_.find(extent.host_offset);
  if (cluster == nullptr) {
    cluster = decompress(extent);
    // Whoever reads whole clusters will hardly come back for the same one.
    if (into.size() < geometry_.cluster_size()) decompressed_.insert(extent.host_offset, cluster);
  }
  std::memcpy(into.data(), cluster->data() + in_cluster, into.size());
}

// --- The whole image ---------------------------------------------------------------------------

void Qcow2Layer::flush() {
  if (read_only_) return;
  const RequestGate::Shared inside(gate_);
  metadata_.flush();
}

void Qcow2Layer::describe(ImageInfo& info) const {
  const RequestGate::Shared inside(gate_);
  qcow2::describe(metadata_.header(), *storage_, info);
  if (auto present = bitmaps_.list_if_read()) info.qcow2->bitmaps = std::move(*present);
  describe_encryption(metadata_.header(), *storage_, info);
}

CheckReport Qcow2Layer::check(const CheckOptions& options) {
  if (options.repair != Repair::none && read_only_) {
    throw Error(Errc::read_only, "the image is open read-only and cannot be repaired");
  }
  const RequestGate::Exclusive alone(gate_);
  // Also what a flush leaves in memory: refcounts that went down, and with lazy refcounts all.
  if (!read_only_) {
    if (!metadata_.is_corrupt()) bitmaps_.store();
    metadata_.close();
  }
  CheckReport report = check_image(*storage_, read_header(*storage_, true), options);
  if (options.repair != Repair::none) {
    metadata_.reload(read_header(*storage_, true));
    bitmaps_.reload();
    decompressed_.forget({}, kHostOffsetEnd);
  }
  return report;
}

void Qcow2Layer::invalidate() {
  const RequestGate::Exclusive alone(gate_);
  if (!read_only_) {
    bitmaps_.store();
    metadata_.close();
  }
  const Header header = read_header(*storage_);
  if (header.geometry().cluster_size() != geometry_.cluster_size() ||
      header.geometry().extended_l2() != geometry_.extended_l2() ||
      header.has(incompatible::kDataFile) != uses_data_file()) {
    throw Error(Errc::unsupported, "another image has been put in this one's place: reopen it");
  }
  metadata_.reload(header);
  bitmaps_.reload();
  decompressed_.forget({}, kHostOffsetEnd);
  has_backing_name_ = !header.backing_file.empty();
  virtual_size_ = header.size;
}

void Qcow2Layer::close() {
  if (closed_) return;
  closed_ = true;
  if (!read_only_) {
    try {
      bitmaps_.store();
    } catch (...) {
      metadata_.close();  // the bitmaps are lost, the disk is not
      throw;
    }
    metadata_.close();
    // Compressed data may end anywhere; whole sectors are kinder to direct I/O.
    const std::uint64_t size = storage_->size();
    if (wrote_compressed_ && storage_->can_grow() && size % kSectorBytes != 0) {
      storage_->resize(align_up(size, kSectorBytes), Preallocation::off);
      storage_->flush();
    }
  }
  if (data_file_) data_file_->close();
  storage_->close();
}

}  // namespace qcowkit::qcow2
