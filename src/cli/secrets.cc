// --object secret: passphrases and keys that options refer to by their id.
#include "cli/secrets.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

#include "cli/failure.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

/// The parts of one --object. What they say is wiped when they are not needed any more; the
/// command line itself is for everybody to see anyway, and secrets belong in files.
class Definition {
 public:
  explicit Definition(std::vector<KeyValue> values) : values_(std::move(values)) {}
  ~Definition() {
    for (KeyValue& entry : values_) explicit_bzero(entry.value.data(), entry.value.size());
  }
  Definition(const Definition&) = delete;
  Definition& operator=(const Definition&) = delete;

  const std::vector<KeyValue>& values() const noexcept { return values_; }
  /// The value given last; null if there is none.
  const std::string* find(std::string_view key) const {
    const auto found =
        std::find_if(values_.rbegin(), values_.rend(), [&](auto& v) { return v.key == key; });
    return found == values_.rend() ? nullptr : &found->value;
  }

 private:
  std::vector<KeyValue> values_;
};

std::vector<KeyValue> parse_json_object(const std::string& text) {
  const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw Failure("--object: the JSON text is not an object");
  std::vector<KeyValue> result;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) throw Failure(fmt::format("Parameter '{}' expects a string", key));
    result.push_back({key, value.get<std::string>()});
  }
  return result;
}

/// The whole file, which may be a pipe. No copy of it is left in memory.
Secret read_file(const std::string& path) {
  const auto fail = [&] {
    return Failure(
        fmt::format("Unable to read {}: {}", path, std::generic_category().message(errno)));
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw fail();
  Secret content = Secret::of_size(4096);
  std::size_t size = 0;
  while (true) {
    const std::span<std::byte> free_space = content.bytes().subspan(size);
    const ssize_t count = ::read(file, free_space.data(), free_space.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const Failure failure = fail();
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

int base64_digit(std::byte byte) noexcept {
  const char c = static_cast<char>(byte);
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

/// Line ends are skipped; nothing may follow the padding.
std::optional<Secret> decode_base64(const Secret& text) {
  Secret bytes = Secret::of_size(text.size());
  std::size_t size = 0;
  unsigned bits = 0;
  int bit_count = 0;
  std::size_t digits = 0;
  std::size_t padding = 0;
  for (const std::byte c : text.bytes()) {
    if (c == std::byte{'\n'} || c == std::byte{'\r'}) continue;
    if (c == std::byte{'='}) {
      ++padding;
      continue;
    }
    const int digit = base64_digit(c);
    if (digit < 0 || padding != 0) return std::nullopt;
    ++digits;
    bits = (bits << 6) | static_cast<unsigned>(digit);
    bit_count += 6;
    if (bit_count >= 8) {
      bit_count -= 8;
      bytes.bytes()[size++] = static_cast<std::byte>((bits >> bit_count) & 0xff);
    }
  }
  if ((digits + padding) % 4 != 0 || padding > 2) return std::nullopt;
  return Secret(bytes.bytes().first(size));
}

Secret content_of(const Definition& definition) {
  const std::string* const data = definition.find("data");
  const std::string* const file = definition.find("file");
  if (data == nullptr && file == nullptr) {
    throw Failure("Either 'file' or 'data' must be provided");
  }
  if (data != nullptr && file != nullptr) {
    throw Failure("'file' and 'data' are mutually exclusive");
  }
  Secret content = file != nullptr ? read_file(*file) : Secret(std::string_view(*data));

  const std::string* const format = definition.find("format");
  if (format == nullptr || *format == "raw") return content;
  if (*format != "base64") {
    throw Failure(fmt::format("Parameter 'format' does not accept value '{}'", *format));
  }
  std::optional<Secret> decoded = decode_base64(content);
  if (!decoded) throw Failure("The secret is not valid base64");
  return *std::move(decoded);
}

}  // namespace

Secrets parse_secrets(const std::vector<std::string>& definitions) {
  Secrets secrets;
  for (const std::string& text : definitions) {
    const Definition definition(text.starts_with('{') ? parse_json_object(text)
                                                      : parse_key_values(text, "qom-type"));
    const std::string* const type = definition.find("qom-type");
    if (type == nullptr || *type != "secret") {
      throw Failure(fmt::format("Parameter 'qom-type' does not accept value '{}'",
                                type != nullptr ? *type : ""));
    }
    for (const KeyValue& entry : definition.values()) {
      if (entry.key != "qom-type" && entry.key != "id" && entry.key != "data" &&
          entry.key != "file" && entry.key != "format") {
        throw Failure(fmt::format("Parameter '{}' is unexpected", entry.key));
      }
    }
    const std::string* const id = definition.find("id");
    if (id == nullptr || id->empty()) throw Failure("Parameter 'id' is missing");
    auto secret = std::make_shared<const Secret>(content_of(definition));
    if (!secrets.emplace(*id, std::move(secret)).second) {
      throw Failure(fmt::format("The secret '{}' is defined twice", *id));
    }
  }
  return secrets;
}

std::shared_ptr<const Secret> find_secret(const Secrets& secrets, const std::string& id) {
  const auto found = secrets.find(id);
  if (found == secrets.end()) throw Failure(fmt::format("No secret with id '{}'", id));
  return found->second;
}

}  // namespace qcowkit::cli
