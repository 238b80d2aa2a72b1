// The -o options that say how a new image is encrypted.
#include "cli/encryption_arguments.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>

namespace qcowkit::cli {

namespace {

constexpr std::array<std::string_view, 6> kLuksOnly = {
    "cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg", "hash-alg", "iter-time"};

/// What an option of LUKS may say. That such a cipher or hash exists does not mean that there is
/// one here: the library tells.
struct Choice {
  std::string_view option;
  std::span<const std::string_view> values;
};
constexpr std::array<std::string_view, 12> kCiphers = {
    "aes-128",     "aes-192",     "aes-256",     "des",         "3des",        "cast5-128",
    "serpent-128", "serpent-192", "serpent-256", "twofish-128", "twofish-192", "twofish-256"};
constexpr std::array<std::string_view, 4> kCipherModes = {"ecb", "cbc", "xts", "ctr"};
constexpr std::array<std::string_view, 3> kIvGenerators = {"plain", "plain64", "essiv"};
constexpr std::array<std::string_view, 7> kHashes = {"md5",    "sha1",   "sha224",   "sha256",
                                                     "sha384", "sha512", "ripemd160"};
constexpr std::array kChoices = {Choice{"cipher-alg", kCiphers},
                                 Choice{"cipher-mode", kCipherModes},
                                 Choice{"ivgen-alg", kIvGenerators},
                                 Choice{"ivgen-hash-alg", kHashes}, Choice{"hash-alg", kHashes}};

/// Options whose names start alike.
class Prefixed {
 public:
  Prefixed(std::string_view prefix, const OptionValues& values)
      : prefix_(prefix), values_(values) {}

  std::string name(std::string_view option) const { return fmt::format("{}{}", prefix_, option); }
  bool has(std::string_view option) const { return values_.has(name(option)); }
  std::string text(std::string_view option) const { return values_.get(name(option)).value_or(""); }
  std::optional<std::uint64_t> number(std::string_view option) const {
    return values_.number(name(option));
  }

 private:
  std::string_view prefix_;
  const OptionValues& values_;
};

EncryptionFormat encryption_of_cluster_format(std::string_view format, const OptionValues& values,
                                              const Prefixed& encrypt) {
  const bool is_on = values.is_on("encryption");
  if (!encrypt.has("format")) {
    if (is_on) return EncryptionFormat::aes;
    const bool has_others = encrypt.has("key-secret") ||
                            std::ranges::any_of(kLuksOnly, [&](auto n) { return encrypt.has(n); });
    if (has_others) {
      throw Failure(fmt::format("Parameter '{}' is missing", encrypt.name("format")));
    }
    return EncryptionFormat::none;
  }
  if (is_on) {
    throw Failure("'encrypt.format' and its alias 'encryption' can't be used at the same time");
  }
  const std::string text = encrypt.text("format");
  if (text == "aes") return EncryptionFormat::aes;
  if (text != "luks") throw not_accepted("format", text);
  if (format == "qcow") throw Failure("Unsupported encryption format");
  return EncryptionFormat::luks;
}

LuksOptions luks_options(const Prefixed& encrypt) {
  for (const Choice& choice : kChoices) {
    if (!encrypt.has(choice.option)) continue;
    const std::string value = encrypt.text(choice.option);
    if (std::ranges::find(choice.values, value) == choice.values.end()) {
      throw not_accepted(choice.option, value);
    }
  }
  LuksOptions options;
  options.cipher_alg = encrypt.text("cipher-alg");
  options.cipher_mode = encrypt.text("cipher-mode");
  options.ivgen_alg = encrypt.text("ivgen-alg");
  options.ivgen_hash_alg = encrypt.text("ivgen-hash-alg");
  options.hash_alg = encrypt.text("hash-alg");
  // To the library, zero means the default.
  if (const auto time = encrypt.number("iter-time")) {
    options.iter_time_ms = std::max<std::uint64_t>(*time, 1);
  }
  return options;
}

}  // namespace

void apply_encryption(std::string_view format, const OptionValues& values, const Secrets& secrets,
                      NewImage purpose, CreateOptions& options) {
  if (format == "raw") return;
  const Prefixed encrypt(encryption_prefix(format), values);
  if (format == "luks") {
    options.encryption = EncryptionFormat::luks;
  } else if (purpose == NewImage::measured) {
    // Only LUKS takes room; whether the other options make sense does not matter.
    if (encrypt.text("format") == "luks") options.encryption = EncryptionFormat::luks;
  } else {
    options.encryption = encryption_of_cluster_format(format, values, encrypt);
  }
  if (options.encryption == EncryptionFormat::none) return;
  if (options.encryption == EncryptionFormat::luks) {
    options.luks = luks_options(encrypt);
  } else {
    for (const std::string_view name : kLuksOnly) {
      if (encrypt.has(name)) {
        throw Failure(fmt::format("Parameter '{}' is unexpected", encrypt.name(name)));
      }
    }
  }
  if (!encrypt.has("key-secret")) {
    throw Failure(fmt::format("Parameter '{}' is required for cipher", encrypt.name("key-secret")));
  }
  options.secret = find_passphrase(secrets, encrypt.text("key-secret"));
}

}  // namespace qcowkit::cli
