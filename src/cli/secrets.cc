// --object secret: passphrases and keys that options refer to by their id.
#include "cli/secrets.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/utf8.h"
#include "cli/base64.h"
#include "cli/failure.h"
#include "cli/objects.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kProperties = {ObjectProperty{"data"}, ObjectProperty{"file"},
                                    ObjectProperty{"format"}, ObjectProperty{"iv"},
                                    ObjectProperty{"keyid"}};
constexpr std::array<std::string_view, 5> kHelp = {"data=<string>", "file=<string>",
                                                   "format=<QCryptoSecretFormat>", "iv=<string>",
                                                   "keyid=<string>"};

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kVectorBytes = 16;

/// The whole file, which may be a pipe. No copy of it is left in memory.
Secret read_file(const std::string& path) {
  const auto fail = [&](std::string_view what) {
    return Failure(fmt::format("Unable to read {}: {} “{}”: {}", path, what, path,
                               std::generic_category().message(errno)));
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw fail("Failed to open file");
  Secret content = Secret::of_size(4096);
  std::size_t size = 0;
  while (true) {
    const std::span<std::byte> free_space = content.bytes().subspan(size);
    const ssize_t count = ::read(file, free_space.data(), free_space.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const Failure failure = fail("Error reading file");
      ::close(file);
      throw failure;
    }
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
    if (size == content.size()) {
      Secret larger = Secret::of_size(2 * size);
      std::ranges::copy(content.bytes(), larger.bytes().begin());
      content = std::move(larger);
    }
  }
  ::close(file);
  return Secret(content.bytes().first(size));
}

/// The secret that `definition` names as the one to decrypt it with, and how.
Secret decrypted(Secret content, const ObjectDefinition& definition, bool is_base64,
                 const Secrets& secrets) {
  const std::shared_ptr<const Secret> key = find_secret(secrets, *definition.text("keyid"));
  if (key->size() != kKeyBytes) {
    throw Failure(fmt::format("Key should be {} bytes in length", kKeyBytes));
  }
  const std::string* const text = definition.text("iv");
  if (text == nullptr) throw Failure("IV is required to decrypt secret");
  const Secret vector = decode_base64(Secret(std::string_view(*text)));
  if (vector.size() != kVectorBytes) {
    throw Failure(
        fmt::format("IV should be {} bytes in length not {}", kVectorBytes, vector.size()));
  }
  if (is_base64) content = decode_base64(content);
  return decrypt_secret(content, *key, vector);
}

Secret content_of(const ObjectDefinition& definition, const Secrets& secrets) {
  const std::string* const format = definition.text("format");
  const bool is_base64 = format != nullptr && *format == "base64";
  if (format != nullptr && *format != "raw" && !is_base64) {
    throw Failure(fmt::format("Parameter 'format' does not accept value '{}'", *format));
  }
  const std::string* const data = definition.text("data");
  const std::string* const file = definition.text("file");
  if (data != nullptr && file != nullptr) {
    throw Failure("'file' and 'data' are mutually exclusive");
  }
  if (data == nullptr && file == nullptr) {
    throw Failure("Either 'file' or 'data' must be provided");
  }
  Secret content = file != nullptr ? read_file(*file) : Secret(std::string_view(*data));
  if (definition.text("keyid") != nullptr) {
    return decrypted(std::move(content), definition, is_base64, secrets);
  }
  return is_base64 ? decode_base64(content) : content;
}

/// True if `bytes` are characters, none of which is zero.
bool is_utf8(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!text.empty()) {
    if (take_utf8(text).value_or(0) == 0) return false;
  }
  return true;
}

}  // namespace

constexpr ObjectType kSecretType{"secret", kProperties, kHelp};

std::shared_ptr<const Secret> make_secret(const ObjectDefinition& definition,
                                          const Secrets& secrets) {
  return std::make_shared<const Secret>(content_of(definition, secrets));
}

Secrets parse_secrets(const std::vector<std::string>& definitions) {
  return parse_objects(definitions);
}

std::shared_ptr<const Secret> find_passphrase(const Secrets& secrets, const std::string& id) {
  std::shared_ptr<const Secret> secret = find_secret(secrets, id);
  if (!is_utf8(secret->bytes())) {
    throw Failure(fmt::format("Data from secret {} is not valid UTF-8", id));
  }
  return secret;
}

std::shared_ptr<const Secret> find_secret(const Secrets& secrets, const std::string& id) {
  const auto found = secrets.secrets.find(id);
  if (found == secrets.secrets.end()) throw Failure(fmt::format("No secret with id '{}'", id));
  return found->second;
}

}  // namespace qcowkit::cli
