// Part of qcowkit. MIT licence; see LICENSE.
//
// Passphrases and keys, which do not outlive their use in memory.
//
//   OpenOptions options;
//   options.secret = std::make_shared<const Secret>(passphrase);
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace qcowkit {

/// The bytes of a passphrase or a key. They are wiped from memory before it is given back. Safe to
/// read from many threads at once.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  explicit Secret(std::string_view text) : Secret(std::as_bytes(std::span(text))) {}
  /// `size_bytes` zeroes, to be filled in.
  static Secret of_size(std::size_t size_bytes);

  Secret(const Secret&) = default;
  Secret(Secret&&) noexcept = default;
  Secret& operator=(const Secret& other);
  Secret& operator=(Secret&& other) noexcept;
  ~Secret() { wipe(); }

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  std::span<std::byte> bytes() noexcept { return bytes_; }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool empty() const noexcept { return bytes_.empty(); }

 private:
  void wipe() noexcept;

  std::vector<std::byte> bytes_;
};

/// Decrypts what was encrypted with AES-256 in CBC mode, with the padding of PKCS #7: secrets that
/// are kept encrypted by another. The key has 32 bytes, the initialisation vector 16. Throws
/// `Error` (invalid_argument) for other lengths and for padding that no encryption would have
/// added.
Secret decrypt_secret(const Secret& ciphertext, const Secret& key,
                      const Secret& initialisation_vector);

}  // namespace qcowkit
