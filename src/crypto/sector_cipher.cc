#include "crypto/sector_cipher.h"

#include <algorithm>
#include <cassert>

#include "crypto/cipher_modes.h"

namespace qcowkit::crypto {

std::unique_ptr<SectorCipher> make_old_aes_cipher(const Secret& password) {
  const BlockCipherAlgorithm* aes = find_block_cipher("aes-128");
  assert(aes != nullptr);
  Secret key = Secret::of_size(aes->key_bytes);
  std::copy_n(password.bytes().begin(), std::min(password.size(), key.size()), key.bytes().begin());
  return make_sector_cipher(*aes, CipherMode::cbc, IvGenerator(IvRule::plain64), key.bytes());
}

}  // namespace qcowkit::crypto
