// --object secret: passphrases and keys that options refer to by their id.
#include "cli/secrets.h"

#include <fmt/core.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "cli/failure.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

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

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Failure(
        fmt::format("Unable to read {}: {}", path, std::generic_category().message(errno)));
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

int base64_digit(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

/// Line ends are skipped; nothing may follow the padding.
std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  unsigned bits = 0;
  int bit_count = 0;
  std::size_t digits = 0;
  std::size_t padding = 0;
  for (const char c : text) {
    if (c == '\n' || c == '\r') continue;
    if (c == '=') {
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
      bytes += static_cast<char>((bits >> bit_count) & 0xff);
    }
  }
  if ((digits + padding) % 4 != 0 || padding > 2) return std::nullopt;
  return bytes;
}

std::optional<std::string> find_value(const std::vector<KeyValue>& values, std::string_view key) {
  std::optional<std::string> found;
  for (const KeyValue& entry : values) {
    if (entry.key == key) found = entry.value;
  }
  return found;
}

std::string content_of(const std::vector<KeyValue>& definition) {
  const std::optional<std::string> data = find_value(definition, "data");
  const std::optional<std::string> file = find_value(definition, "file");
  if (!data && !file) throw Failure("Either 'file' or 'data' must be provided");
  if (data && file) throw Failure("'file' and 'data' are mutually exclusive");
  std::string content = file ? read_file(*file) : *data;

  const std::string format = find_value(definition, "format").value_or("raw");
  if (format == "raw") return content;
  if (format != "base64") {
    throw Failure(fmt::format("Parameter 'format' does not accept value '{}'", format));
  }
  std::optional<std::string> decoded = decode_base64(content);
  if (!decoded) throw Failure("The secret is not valid base64");
  return *decoded;
}

}  // namespace

Secrets parse_secrets(const std::vector<std::string>& definitions) {
  Secrets secrets;
  for (const std::string& text : definitions) {
    const std::vector<KeyValue> definition =
        text.starts_with('{') ? parse_json_object(text) : parse_key_values(text, "qom-type");
    const std::string type = find_value(definition, "qom-type").value_or("");
    if (type != "secret") {
      throw Failure(fmt::format("Parameter 'qom-type' does not accept value '{}'", type));
    }
    for (const KeyValue& entry : definition) {
      if (entry.key != "qom-type" && entry.key != "id" && entry.key != "data" &&
          entry.key != "file" && entry.key != "format") {
        throw Failure(fmt::format("Parameter '{}' is unexpected", entry.key));
      }
    }
    const std::optional<std::string> id = find_value(definition, "id");
    if (!id || id->empty()) throw Failure("Parameter 'id' is missing");
    if (!secrets.emplace(*id, content_of(definition)).second) {
      throw Failure(fmt::format("The secret '{}' is defined twice", *id));
    }
  }
  return secrets;
}

}  // namespace qcowkit::cli
