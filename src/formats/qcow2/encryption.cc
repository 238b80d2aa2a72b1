#include "formats/qcow2/encryption.h"

namespace qcowkit::qcow2 {

crypto::LuksArea luks_area(const Header& header, Storage& storage) {
  return {storage, header.encryption->offset, header.encryption->length};
}

std::unique_ptr<crypto::SectorCipher> make_cipher(const Header& header, Storage& storage,
                                                  const Secret& secret) {
  if (header.crypt_method == crypt_method::kAes) return crypto::make_old_aes_cipher(secret);
  return crypto::LuksVolume(luks_area(header, storage)).unlock(secret);
}

void describe_encryption(const Header& header, Storage& storage, ImageInfo& info) {
  if (header.crypt_method == crypt_method::kAes) info.encryption = EncryptionFormat::aes;
  if (header.crypt_method != crypt_method::kLuks) return;
  info.encryption = EncryptionFormat::luks;
  info.luks = crypto::LuksVolume(luks_area(header, storage)).info();
}

}  // namespace qcowkit::qcow2
