// Options as JSON text: a reader that needs no document in between, as hostile images bring some.
#include "image/json_options.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdlib>
#include <set>

namespace qcowkit {

namespace {

[[noreturn]] void fail(const std::string& what) { throw JsonSyntaxError(what); }
[[noreturn]] void fail_parsing(const std::string& what) {
  fail(fmt::format("JSON parse error, {}", what));
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_lower(char c) noexcept { return c >= 'a' && c <= 'z'; }

void append_utf8(std::string& out, std::uint32_t character) {
  const auto append = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (character != 0 && character < 0x80) {
    append(character);
  } else if (character < 0x800) {  // zero, too: texts end at the first zero byte
    append(0xc0 | (character >> 6));
    append(0x80 | (character & 0x3f));
  } else if (character < 0x10000) {
    append(0xe0 | (character >> 12));
    append(0x80 | ((character >> 6) & 0x3f));
    append(0x80 | (character & 0x3f));
  } else {
    append(0xf0 | (character >> 18));
    append(0x80 | ((character >> 12) & 0x3f));
    append(0x80 | ((character >> 6) & 0x3f));
    append(0x80 | (character & 0x3f));
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  NodeOptions read() {
    skip_blanks();
    if (at_end()) fail("Expecting a JSON value");
    const bool is_object = peek() == '{';
    read_value("", 0);
    skip_blanks();
    if (!at_end()) fail("Expecting at most one JSON value");
    if (!is_object) throw Error(Errc::invalid_argument, "Invalid JSON object given");
    return std::move(options_);
  }

 private:
  bool at_end() const noexcept { return position_ == text_.size(); }
  char peek() const noexcept { return text_[position_]; }
  void skip_blanks() noexcept {
    const std::size_t next = text_.find_first_not_of(" \t\r\n", position_);
    position_ = next == text_.npos ? text_.size() : next;
  }
  /// The next character that is no blank; there has to be one.
  char next() {
    skip_blanks();
    if (at_end()) fail_parsing("premature EOI");
    return peek();
  }
  /// `length` characters from `begin` on mean nothing here.
  [[noreturn]] void fail_stray(std::size_t begin, std::size_t end) const {
    fail_parsing(fmt::format("stray '{}'", text_.substr(begin, end - begin)));
  }

  void read_value(const std::string& key, std::size_t depth) {
    const char c = next();
    if (c == '{' || c == '[') {
      if (depth == kJsonNestingMax) fail_parsing("JSON nesting depth limit exceeded");
      return c == '{' ? read_object(key, depth) : read_array(key, depth);
    }
    store(key, depth, read_scalar());
  }

  NodeOptions::Value read_scalar() {
    const char c = next();
    if (c == '"' || c == '\'') return read_string();
    if (c == '-' || is_digit(c)) return read_number();
    if (is_lower(c)) return read_keyword();
    if (std::string_view("}],:").find(c) != std::string_view::npos) fail_parsing("expecting value");
    fail_stray(position_, position_ + 1);
  }

  void read_object(const std::string& key, std::size_t depth) {
    ++position_;
    const std::string prefix = depth == 0 ? std::string() : key + '.';
    std::set<std::string> names;
    if (next() == '}') {
      if (depth != 0) store(key, depth, nullptr);
      ++position_;
      return;
    }
    while (true) {
      const NodeOptions::Value name_value = read_name();
      const std::string* const name = std::get_if<std::string>(&name_value);
      if (name == nullptr) fail_parsing("key is not a string in object");
      if (next() != ':') fail_parsing("missing : in object pair");
      ++position_;
      if (!names.insert(*name).second) {
        read_value(prefix + *name, depth + 1);  // what is wrong with the value goes first
        fail_parsing("duplicate key");
      }
      read_value(prefix + *name, depth + 1);
      const char c = next();
      if (c == '}') break;
      if (c != ',') fail_parsing("expected separator in dict");
      ++position_;
    }
    ++position_;
  }

  NodeOptions::Value read_name() {
    const char c = next();
    if (c == '{' || c == '[') fail_parsing("key is not a string in object");
    return read_scalar();
  }

  void read_array(const std::string& key, std::size_t depth) {
    ++position_;
    if (next() == ']') {
      store(key, depth, nullptr);
      ++position_;
      return;
    }
    for (std::size_t index = 0;; ++index) {
      read_value(fmt::format("{}.{}", key, index), depth + 1);
      const char c = next();
      if (c == ']') break;
      if (c != ',') fail_parsing("expected separator in list");
      ++position_;
    }
    ++position_;
  }

  std::string read_string() {
    const std::size_t begin = position_;
    const char quote = text_[position_++];
    std::string out;
    while (true) {
      if (at_end()) fail_stray(begin, position_);
      const char c = text_[position_++];
      if (c == quote) return out;
      if (static_cast<unsigned char>(c) < 0x20) fail_stray(begin, position_);
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_end()) fail_stray(begin, position_);
      read_escape(out);
    }
  }

  void read_escape(std::string& out) {
    constexpr std::string_view kNames = "\"'\\/bfnrt";
    constexpr std::string_view kCharacters = "\"'\\/\b\f\n\r\t";
    const char c = text_[position_++];
    if (c == 'u') return read_unicode(out);
    const std::size_t index = kNames.find(c);
    if (index == kNames.npos) fail_parsing("invalid escape sequence in string");
    out += kCharacters[index];
  }

  /// Behind "\u": four digits, or a pair of them where one does not suffice.
  void read_unicode(std::string& out) {
    const std::size_t begin = position_ - 2;
    std::uint32_t character = read_hexadecimal();
    if (character >= 0xd800 && character < 0xdc00 && text_.substr(position_).starts_with("\\u")) {
      position_ += 2;
      const std::uint32_t low = read_hexadecimal();
      const bool is_pair = low >= 0xdc00 && low < 0xe000;
      character = is_pair ? 0x10000 + ((character - 0xd800) << 10) + (low - 0xdc00) : 0xd800;
    }
    if (character >= 0xd800 && character < 0xe000) {
      fail_parsing(fmt::format("{} is not a valid Unicode character",
                               text_.substr(begin, position_ - begin)));
    }
    append_utf8(out, character);
  }

  std::uint32_t read_hexadecimal() {
    const std::string_view digits = text_.substr(position_, 4);
    std::uint32_t number = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stopped_at, error] = std::from_chars(digits.data(), end, number, 16);
    if (digits.size() < 4 || error != std::errc{} || stopped_at != end) {
      fail_parsing("invalid escape sequence in string");
    }
    position_ += 4;
    return number;
  }

  NodeOptions::Value read_keyword() {
    const std::size_t begin = position_;
    while (!at_end() && is_lower(peek())) ++position_;
    const std::string_view word = text_.substr(begin, position_ - begin);
    if (word == "true") return true;
    if (word == "false") return false;
    if (word == "null") return nullptr;
    fail_parsing(fmt::format("invalid keyword '{}'", word));
  }

  void skip_digits(std::size_t begin) {
    if (at_end() || !is_digit(peek())) fail_stray(begin, std::min(position_ + 1, text_.size()));
    while (!at_end() && is_digit(peek())) ++position_;
  }

  NodeOptions::Value read_number() {
    const std::size_t begin = position_;
    if (peek() == '-') ++position_;
    if (!at_end() && peek() == '0') {
      ++position_;
      if (!at_end() && is_digit(peek())) fail_stray(begin, position_ + 1);
    } else {
      skip_digits(begin);
    }
    bool is_integer = true;
    if (!at_end() && peek() == '.') {
      is_integer = false;
      ++position_;
      skip_digits(begin);
    }
    if (!at_end() && (peek() == 'e' || peek() == 'E')) {
      is_integer = false;
      ++position_;
      if (!at_end() && (peek() == '+' || peek() == '-')) ++position_;
      skip_digits(begin);
    }
    const std::string token(text_.substr(begin, position_ - begin));
    if (is_integer) {
      std::int64_t number = 0;
      const auto [stopped_at, error] =
          std::from_chars(token.data(), token.data() + token.size(), number);
      if (error == std::errc{}) return number;
    }
    return std::strtod(token.c_str(), nullptr);
  }

  void store(const std::string& key, std::size_t depth, NodeOptions::Value value) {
    if (depth == 0) return;  // not an object; told of in the end
    std::size_t& stored_depth = depths_[key];
    if (depth < stored_depth) return;
    stored_depth = depth;
    options_.set(key, std::move(value));
  }

  const std::string_view text_;
  std::size_t position_ = 0;
  NodeOptions options_;
  std::map<std::string, std::size_t> depths_;  // how deep the value of each option was nested
};

}  // namespace

NodeOptions parse_json_options(std::string_view text) { return Reader(text).read(); }

}  // namespace qcowkit
