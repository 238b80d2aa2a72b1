#include "crypto/luks_cipher.h"

#include <fmt/core.h>

#include <array>
#include <utility>

#include "qcowkit/error.h"

namespace qcowkit::crypto {

namespace {

struct IvName {
  std::string_view name;
  IvRule rule;
};

constexpr std::array kIvNames = {
    IvName{"plain64", IvRule::plain64},
    IvName{"plain", IvRule::plain},
    IvName{"essiv", IvRule::essiv},
    // Of mode ecb only, which has no use for them.
    IvName{"none", IvRule::plain64},
};

constexpr std::size_t kXtsBlockBytes = 16;

[[noreturn]] void unsupported(std::string_view what, std::string_view name) {
  throw Error(Errc::unsupported, fmt::format("{} '{}' is not supported", what, name));
}

std::string_view or_default(const std::string& value, std::string_view by_default) {
  return value.empty() ? by_default : std::string_view(value);
}

CipherMode require_mode(std::string_view name) {
  const std::optional<CipherMode> mode = find_cipher_mode(name);
  if (!mode) unsupported("cipher mode", name);
  return *mode;
}

/// What is before the separator, and what is behind it.
std::pair<std::string_view, std::string_view> cut(std::string_view text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at), text.substr(at + 1)};
}

void require_blocks_for(CipherMode mode, const BlockCipherAlgorithm& algorithm) {
  if (mode == CipherMode::xts && algorithm.block_bytes != kXtsBlockBytes) {
    throw Error(Errc::unsupported, "Unsupported cipher mode xts");
  }
}

/// Why the cipher cannot encrypt initialisation vectors, in the reference's words.
std::string essiv_error(const BlockCipherAlgorithm& algorithm, std::size_t key_bytes) {
  const std::string_view family = algorithm.family;
  if (family == "cast5") return fmt::format("Cipher {} not supported with essiv", algorithm.name);
  const std::string_view name = family == "aes"       ? "AES"
                                : family == "serpent" ? "Serpent"
                                                      : "Twofish";
  return fmt::format("No {} cipher with key size {} available", name, key_bytes);
}

}  // namespace

const HashAlgorithm& require_hash(std::string_view what, std::string_view name) {
  const HashAlgorithm* hash = find_hash(name);
  if (hash == nullptr) unsupported(what, name);
  return *hash;
}

LuksCipher::LuksCipher(std::string_view cipher_name, std::string_view cipher_mode,
                       std::size_t key_bytes) {
  const auto [mode_name, iv_spec] = cut(cipher_mode, '-');
  mode_ = require_mode(mode_name);
  const std::size_t keys = mode_ == CipherMode::xts ? 2 : 1;
  algorithm_ = key_bytes % keys == 0 ? find_block_cipher(cipher_name, key_bytes / keys) : nullptr;
  if (algorithm_ == nullptr) {
    throw Error(Errc::unsupported,
                fmt::format("cipher '{}' in mode '{}' with a key of {} bytes is not supported",
                            cipher_name, mode_name, key_bytes));
  }
  require_blocks_for(mode_, *algorithm_);
  const auto [iv_name, iv_hash] = cut(iv_spec, ':');
  set_iv(iv_name.empty() && mode_ == CipherMode::ecb ? "none" : iv_name, iv_hash);
}

LuksCipher::LuksCipher(const LuksOptions& options) {
  const std::string_view name = or_default(options.cipher_alg, "aes-256");
  algorithm_ = find_block_cipher(name);
  if (algorithm_ == nullptr) {
    throw Error(Errc::unsupported, fmt::format("Algorithm '{}' not supported", name));
  }
  mode_ = require_mode(or_default(options.cipher_mode, "xts"));
  require_blocks_for(mode_, *algorithm_);
  const std::string_view iv_name = or_default(options.ivgen_alg, "plain64");
  const std::string_view iv_hash_by_default = iv_name == "essiv" ? "sha256" : "";
  set_iv(iv_name, or_default(options.ivgen_hash_alg, iv_hash_by_default));
}

void LuksCipher::set_iv(std::string_view name, std::string_view hash_name) {
  const IvName* found = nullptr;
  for (const IvName& known : kIvNames) {
    if (known.name == name) found = &known;
  }
  if (found == nullptr || (name == "none" && mode_ != CipherMode::ecb)) {
    unsupported("IV generator", name);
  }
  iv_name_ = found->name;
  iv_rule_ = found->rule;
  if (!hash_name.empty()) iv_hash_ = &require_hash("IV generator's hash", hash_name);
  if (iv_rule_ != IvRule::essiv) return;
  if (iv_hash_ == nullptr) {
    throw Error(Errc::corrupt, "cipher-mode: IV generator 'essiv' lacks the name of its hash");
  }
  essiv_algorithm_ = find_block_cipher(algorithm_->family, iv_hash_->digest_bytes);
  if (essiv_algorithm_ == nullptr) {
    throw Error(Errc::unsupported, essiv_error(*algorithm_, iv_hash_->digest_bytes));
  }
}

std::string LuksCipher::mode_field() const {
  // Other readers want a generator also where the mode has no use for one.
  std::string field =
      fmt::format("{}-{}", name_of(mode_), iv_name_ == "none" ? "plain64" : iv_name_);
  if (iv_hash_ != nullptr) field += fmt::format(":{}", iv_hash_->name);
  return field;
}

IvGenerator LuksCipher::make_iv_generator(std::span<const std::byte> key) const {
  if (iv_rule_ != IvRule::essiv) return IvGenerator(iv_rule_);
  Secret iv_key = Secret::of_size(iv_hash_->digest_bytes);
  Hasher hasher(*iv_hash_);
  hasher.update(key);
  hasher.digest(iv_key.bytes());
  return IvGenerator(BlockCipher(*essiv_algorithm_, iv_key.bytes()));
}

std::unique_ptr<SectorCipher> LuksCipher::with_key(std::span<const std::byte> key) const {
  return make_sector_cipher(*algorithm_, mode_, make_iv_generator(key), key);
}

}  // namespace qcowkit::crypto
