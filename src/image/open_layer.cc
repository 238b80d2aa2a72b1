#include "image/open_layer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "formats/luks/luks_layer.h"
#include "formats/qcow1/qcow1_layer.h"
#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshots.h"
#include "formats/raw/raw_layer.h"
#include "image/format_options.h"
#include "image/guessed_raw.h"
#include "image/probe.h"
#include "storage/window_storage.h"

namespace qcowkit {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

const std::string kEncrypt = "encrypt.";

/// Throws unless the first bytes are those of the format, of whichever version, in the reference's
/// words.
void require_signature(Storage& storage, const std::string& format) {
  constexpr std::string_view kQcow = "QFI\xfb";
  const std::string_view expected = format == "luks" ? "LUKS\xba\xbe" : kQcow;
  std::array<std::byte, 6> found;
  storage.read(0, found);
  if (std::memcmp(found.data(), expected.data(), expected.size()) == 0) return;
  const std::string_view message = format == "qcow"    ? "Image not in qcow format"
                                   : format == "qcow2" ? "Image is not in qcow2 format"
                                                       : "Volume is not in LUKS format";
  throw Error(Errc::not_an_image, std::string(message));
}

OpenedLayer open_raw(LayerRequest request, NodeReader& reader) {
  const std::optional<std::uint64_t> offset = reader.take_size("offset");
  const std::optional<std::uint64_t> size = reader.take_size("size");
  std::unique_ptr<Storage> storage = std::move(request.storage);
  if (request.is_guessed_raw && !request.options.read_only) {
    storage = make_guessed_raw_storage(std::move(storage));
  }
  if (offset.value_or(0) != 0 || size) {
    EventListener* const listener = storage->listener();
    storage = make_window_storage(std::move(storage), {offset.value_or(0), size});
    if (listener != nullptr) storage->set_listener(listener);
  }
  return {std::make_unique<raw::RawLayer>(std::move(storage), request.options.read_only), {}};
}

OpenedLayer open_luks(LayerRequest request, NodeReader& reader) {
  find_passphrase(read_encryption_options(reader, ""), "", request.options);
  return {std::make_unique<luks::LuksLayer>(std::move(request.storage), request.options.read_only,
                                            request.options.secret),
          {}};
}

/// What is common to the formats whose images may be encrypted.
void unlock(NodeReader& reader, EncryptionFormat found, OpenOptions& options) {
  const EncryptionChoice choice = read_encryption_options(reader, kEncrypt);
  require_encryption(choice, found);
  if (found == EncryptionFormat::none) {
    reader.drop(kEncrypt);
    return;
  }
  require_encryption_options_known(reader);
  find_passphrase(choice, kEncrypt, options);
}

OpenedLayer open_qcow1(LayerRequest request, NodeReader& reader) {
  OpenOptions& options = request.options;
  const qcow1::Header header = qcow1::Qcow1Layer::read_header(*request.storage);
  unlock(reader,
         header.crypt_method == qcow1::CryptMethod::none ? EncryptionFormat::none
                                                         : EncryptionFormat::aes,
         options);
  OpenedLayer opened;
  opened.backing = {.name = header.backing_file, .format = {}, .is_possible = true};
  opened.layer = std::make_unique<qcow1::Qcow1Layer>(
      std::move(request.storage), header,
      qcow1::LayerOptions{options.read_only, options.l2_cache_bytes, options.secret});
  return opened;
}

EncryptionFormat encryption_of(const qcow2::Header& header) {
  if (header.crypt_method == qcow2::crypt_method::kNone) return EncryptionFormat::none;
  return header.crypt_method == qcow2::crypt_method::kAes ? EncryptionFormat::aes
                                                          : EncryptionFormat::luks;
}

void require_fitting(const qcow2::Header& header, const OpenOptions& options) {
  const std::uint64_t cluster_bytes = std::uint64_t{1} << header.cluster_bits;
  const std::uint64_t entry_bytes = options.l2_cache_entry_bytes;
  if (entry_bytes != 0 &&
      (!std::has_single_bit(entry_bytes) || entry_bytes < 512 || entry_bytes > cluster_bytes)) {
    throw invalid(
        fmt::format("L2 cache entry size must be a power of two between 512 and the cluster size "
                    "({})",
                    cluster_bytes));
  }
  if (options.lazy_refcounts.value_or(false) && header.version < 3) {
    throw invalid(
        "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
  }
}

OpenedLayer open_qcow2(LayerRequest request, NodeReader& reader) {
  OpenOptions& options = request.options;
  qcow2::Header header = qcow2::Qcow2Layer::read_header(*request.storage, options.for_check);
  const bool has_data_file = header.has(qcow2::incompatible::kDataFile);
  std::unique_ptr<Storage> data_file;
  if (options.open_data_file) {
    const std::string stored_name = header.data_file.value_or("");
    data_file = request.open_data_file(has_data_file ? &stored_name : nullptr);
    if (data_file != nullptr && !has_data_file) {
      throw invalid("'data-file' can only be set for images with an external data file");
    }
  }
  read_qcow2_options(reader, options);
  require_fitting(header, options);
  unlock(reader, encryption_of(header), options);

  OpenedLayer opened;
  opened.backing = {header.backing_file, header.backing_format.value_or(""), true};
  if (!options.snapshot.empty()) {
    if (!options.read_only) throw invalid("a snapshot can only be opened read-only");
    header = qcow2::header_of_snapshot(header, *request.storage, options.snapshot);
  }
  qcow2::LayerOptions layer_options;
  layer_options.secret = options.secret;
  layer_options.read_only = options.read_only;
  layer_options.for_check = options.for_check;
  layer_options.metadata = {
      options.l2_cache_bytes,       options.refcount_cache_bytes,
      options.discard_pass_through, options.read_only ? overlap::kNone : options.overlap_checks,
      options.lazy_refcounts,       options.cache_clean_interval_seconds,
      options.l2_cache_entry_bytes};
  opened.layer = std::make_unique<qcow2::Qcow2Layer>(
      std::move(request.storage), std::move(data_file), std::move(header), layer_options);
  return opened;
}

}  // namespace

std::string probe_storage(Storage& storage) {
  std::vector<std::byte> first_bytes(std::min<std::uint64_t>(kProbeBytes, storage.size()));
  storage.read(0, first_bytes);
  return probe_format(first_bytes);
}

OpenedLayer open_layer(LayerRequest request, NodeReader& reader) {
  const std::string format = request.format;
  if (!request.options.snapshot.empty() && format != "qcow2") {
    throw Error(Errc::unsupported,
                fmt::format("images of the format '{}' have no internal snapshots", format));
  }
  if (format == "raw") return open_raw(std::move(request), reader);
  if (find_driver(format) == nullptr) {
    throw Error(Errc::unsupported, fmt::format("Unknown driver '{}'", format));
  }
  require_signature(*request.storage, format);
  if (format == "luks") return open_luks(std::move(request), reader);
  if (format == "qcow") return open_qcow1(std::move(request), reader);
  return open_qcow2(std::move(request), reader);
}

}  // namespace qcowkit
