// Making LUKS volumes.
#include "base/checked.h"
#include "formats/luks/limits.h"
#include "formats/luks/luks_layer.h"

namespace qcowkit::luks {

void validate_create_options(const CreateOptions& options) {
  if (!options.secret) {
    throw Error(Errc::invalid_argument, "Parameter 'key-secret' is required for cipher");
  }
  if (!options.backing_file.empty()) {
    throw Error(Errc::invalid_argument, "a LUKS volume cannot have a backing file");
  }
  crypto::luks_header_bytes(options.luks);  // throws where a name is not known
  if (*options.size_bytes > kDiskBytesMax) {
    throw Error(Errc::limit_exceeded, "the disk is larger than any file");
  }
}

void create_image(Storage& storage, const CreateOptions& options) {
  validate_create_options(options);
  const std::uint64_t payload_offset = crypto::luks_header_bytes(options.luks);
  storage.resize(0, Preallocation::off);
  // First the space: without it, there is no sense in making key material.
  storage.resize(payload_offset + align_up(*options.size_bytes, kSectorBytes),
                 options.preallocation);
  crypto::create_luks({storage, HostOffset{0}, payload_offset}, options.luks, *options.secret);
  storage.flush();
}

}  // namespace qcowkit::luks
