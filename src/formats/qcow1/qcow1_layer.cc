// Opening, reading, describing, emptying and closing an image.
#include "formats/qcow1/qcow1_layer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "codec/compression.h"
#include "formats/qcow1/limits.h"
#include "formats/require_inside.h"

namespace qcowkit::qcow1 {

namespace {

std::unique_ptr<crypto::SectorCipher> make_cipher(const Header& header,
                                                  const LayerOptions& options) {
  if (options.secret == nullptr) return nullptr;
  if (header.crypt_method == CryptMethod::none) {
    throw Error(Errc::invalid_argument,
                "No encryption in image header, but options specified format 'aes'");
  }
  return crypto::make_old_aes_cipher(*options.secret);
}

}  // namespace

Header Qcow1Layer::read_header(Storage& storage) {
  std::array<std::byte, sizeof(RawHeader)> bytes;
  const std::size_t there = std::min<std::uint64_t>(bytes.size(), storage.size());
  storage.read(0, std::span(bytes).first(there));
  Header header = Header::decode(std::span(bytes).first(there));
  require_inside(storage, "L1 table", header.l1_table_offset, header.l1_table_bytes());
  require_inside(storage, "backing file name", header.backing_file_offset,
                 header.backing_file_size);
  header.backing_file.resize(header.backing_file_size);
  storage.read(header.backing_file_offset.value,
               std::as_writable_bytes(std::span(header.backing_file)));
  // The name ends at a zero byte, as the reference reads it: what is asked about (`References`) is
  // what is opened.
  header.backing_file.resize(std::min(header.backing_file.size(), header.backing_file.find('\0')));
  return header;
}

Qcow1Layer::Qcow1Layer(std::unique_ptr<Storage> storage, const Header& header,
                       const LayerOptions& options)
    : storage_(std::move(storage)),
      geometry_(header.geometry()),
      virtual_size_(header.size),
      read_only_(options.read_only),
      is_encrypted_(header.crypt_method != CryptMethod::none),
      has_backing_name_(!header.backing_file.empty()),
      cipher_(make_cipher(header, options)),
      metadata_(*storage_, header, options.l2_cache_bytes),
      decompressed_(geometry_.cluster_size()) {}

Qcow1Layer::~Qcow1Layer() = default;

void Qcow1Layer::require_readable() const {
  if (is_encrypted_ && cipher_ == nullptr) {
    throw Error(Errc::invalid_argument, "Parameter 'encrypt.key-secret' is required for cipher");
  }
}

void Qcow1Layer::before_change() {
  if (read_only_) throw Error(Errc::read_only, "the image is open read-only");
  require_readable();
  metadata_.before_change();
}

// --- Reading -----------------------------------------------------------------------------------

LayerExtent Qcow1Layer::map(GuestOffset guest_offset, std::uint64_t length_bytes) {
  require_readable();
  return metadata_.map().find(guest_offset, length_bytes);
}

void Qcow1Layer::decompress(const LayerExtent& extent, std::span<std::byte> cluster) const {
  thread_local std::vector<std::byte> stream;
  stream.resize(extent.compressed_bytes);
  storage_->raise(Event::read_compressed, extent.host_offset.value, stream.size());
  storage_->read(extent.host_offset.value, stream);
  if (codec::decompress(CompressionType::deflate, stream, cluster)) return;
  throw Error(Errc::corrupt,
              fmt::format("compressed cluster at host offset {:#x}: {} bytes do not "
                          "decompress to a cluster of {} bytes",
                          extent.host_offset.value, extent.compressed_bytes, cluster.size()));
}

void Qcow1Layer::read_compressed(GuestOffset guest_offset, const LayerExtent& extent,
                                 std::span<std::byte> into) {
  std::shared_ptr<const Buffer> cluster = decompressed_.find(extent.host_offset);
  if (cluster == nullptr && into.size() == geometry_.cluster_size()) {
    // Whoever reads whole clusters will hardly come back for the same one.
    decompress(extent, into);
    return;
  }
  if (cluster == nullptr) {
    auto fresh = std::make_shared<Buffer>(geometry_.cluster_size());
    decompress(extent, fresh->span());
    cluster = std::move(fresh);
    decompressed_.insert(extent.host_offset, cluster);
  }
  std::memcpy(into.data(), cluster->data() + geometry_.in_cluster(guest_offset.value), into.size());
}

// --- The whole image ---------------------------------------------------------------------------

void Qcow1Layer::flush() {
  if (!read_only_) metadata_.flush();
}

void Qcow1Layer::describe(ImageInfo& info) const {
  info.virtual_size_bytes = virtual_size_;
  info.cluster_size_bytes = geometry_.cluster_size();
  info.encrypted = is_encrypted_;
  if (is_encrypted_) info.encryption = EncryptionFormat::aes;
  info.backing_file = metadata_.header().backing_file;
}

/// True once nobody holds a mapping any more; does not wait long for it.
bool Qcow1Layer::readers_leave() const {
  constexpr int kTries = 200;
  constexpr std::chrono::microseconds kPause(50);
  for (int i = 0; i < kTries; ++i) {
    if (readers_.are_gone()) return true;
    std::this_thread::sleep_for(kPause);
  }
  return false;
}

void Qcow1Layer::make_empty() {
  if (read_only_) throw Error(Errc::read_only, "the image is open read-only");
  const RequestGate::Exclusive alone(gate_);
  metadata_.flush();
  metadata_.unlink_all();
  // Where somebody is still reading, the file keeps its length: nothing is written to where he
  // reads, and the room is lost.
  if (!readers_leave()) return;
  decompressed_.forget({0}, kFileEnd);
  metadata_.cut_off();
}

void Qcow1Layer::invalidate() {
  const RequestGate::Exclusive alone(gate_);
  if (!read_only_) metadata_.flush();
  metadata_.reload();
  decompressed_.forget({0}, kFileEnd);
}

void Qcow1Layer::close() {
  if (closed_) return;
  closed_ = true;
  flush();
  storage_->close();
}

}  // namespace qcowkit::qcow1
