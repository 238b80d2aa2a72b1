// Which cipher a LUKS volume uses: as its header names it, and as options do.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "crypto/cipher_modes.h"
#include "crypto/hash.h"
#include "crypto/sector_cipher.h"
#include "qcowkit/options.h"

namespace qcowkit::crypto {

/// A cipher that exists. Constant after construction.
class LuksCipher {
 public:
  /// From a header's fields cipher-name, cipher-mode and key-bytes. Throws `Error` (unsupported or
  /// corrupt, naming the field).
  LuksCipher(std::string_view cipher_name, std::string_view cipher_mode, std::size_t key_bytes);
  /// From options, empty ones being the defaults. Throws `Error` (unsupported or invalid_argument,
  /// naming the option).
  explicit LuksCipher(const LuksOptions& options);

  const BlockCipherAlgorithm& algorithm() const noexcept { return *algorithm_; }
  CipherMode mode() const noexcept { return mode_; }
  /// "plain64", "plain", "essiv", or "none".
  std::string_view iv_name() const noexcept { return iv_name_; }
  /// Empty: none is used, whatever the header says.
  std::string_view iv_hash_name() const noexcept {
    return iv_rule_ == IvRule::essiv ? iv_hash_->name : "";
  }
  std::size_t key_bytes() const noexcept { return key_bytes_of(*algorithm_, mode_); }
  /// As the header has it: "cbc-essiv:sha256".
  std::string mode_field() const;

  std::unique_ptr<SectorCipher> with_key(std::span<const std::byte> key) const;

 private:
  void set_iv(std::string_view name, std::string_view hash_name);
  IvGenerator make_iv_generator(std::span<const std::byte> key) const;

  const BlockCipherAlgorithm* algorithm_ = nullptr;
  CipherMode mode_ = CipherMode::xts;
  std::string_view iv_name_;
  IvRule iv_rule_ = IvRule::plain64;
  const HashAlgorithm* iv_hash_ = nullptr;  // may be named without being used; not null with essiv
  const BlockCipherAlgorithm* essiv_algorithm_ = nullptr;  // with essiv
};

/// The hash of this name. Throws `Error` (unsupported), naming `what`.
const HashAlgorithm& require_hash(std::string_view what, std::string_view name);

}  // namespace qcowkit::crypto
