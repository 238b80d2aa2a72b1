// The rule file of a blkdebug storage.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "qcowkit/error.h"
#include "storage/blkdebug.h"

namespace qcowkit {

namespace {

constexpr std::array<std::string_view, 6> kIoTypeNames = {"read",    "write", "write-zeroes",
                                                          "discard", "flush", "block-status"};

[[noreturn]] void fail(std::string message) {
  throw Error(Errc::invalid_argument, std::move(message));
}

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

std::string_view skip_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  return text;
}

std::string_view take_word(std::string_view& text) {
  const auto end = std::find_if(text.begin(), text.end(), is_blank);
  const std::string_view word = text.substr(0, static_cast<std::size_t>(end - text.begin()));
  text.remove_prefix(word.size());
  return word;
}

/// What stands between a quotation mark and the next, or the line's end; empty without any.
std::string_view quoted(std::string_view text) {
  if (!text.starts_with('"')) return {};
  text.remove_prefix(1);
  return text.substr(0, text.find('"'));
}

std::uint64_t number(std::string_view key, const std::string& value) {
  char* end = nullptr;
  errno = 0;
  const std::uint64_t result = std::strtoull(value.c_str(), &end, 0);
  if (errno == ERANGE) fail(fmt::format("Value '{}' is too large for parameter '{}'", value, key));
  if (value.empty() || *end != '\0') fail(fmt::format("Parameter '{}' expects a number", key));
  return result;
}

bool on_or_off(std::string_view key, std::string_view value) {
  for (const std::string_view yes : {"on", "yes", "true", "y"}) {
    if (value == yes) return true;
  }
  for (const std::string_view no : {"off", "no", "false", "n"}) {
    if (value == no) return false;
  }
  fail(fmt::format("Parameter '{}' expects 'on' or 'off'", key));
}

bool is_identifier(std::string_view text) {
  return !text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0 &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' ||
                  c == '_';
         });
}

/// One section: its lines are checked one by one as they come, what they say together at the end.
struct Section {
  bool sets_state = false;
  std::map<std::string, std::string, std::less<>> values = {};

  void set(std::string_view key, std::string_view value) {
    const bool is_number =
        key == "state" || (sets_state ? key == "new_state" : key == "errno" || key == "sector");
    const bool is_flag = !sets_state && (key == "once" || key == "immediately");
    const bool is_text = key == "event" || key == "id" || (!sets_state && key == "iotype");
    if (!is_number && !is_flag && !is_text) fail(fmt::format("Invalid parameter '{}'", key));
    if (is_number) number(key, std::string(value));
    if (is_flag) on_or_off(key, value);
    values[std::string(key)] = value;
  }

  std::uint64_t number_of(std::string_view key, std::uint64_t otherwise) const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : number(key, found->second);
  }
  bool flag_of(std::string_view key) const {
    const auto found = values.find(key);
    return found != values.end() && on_or_off(key, found->second);
  }
  BlkdebugEvent event() const {
    const auto found = values.find("event");
    if (found == values.end()) fail("Missing event name for rule");
    const std::optional<BlkdebugEvent> event = find_blkdebug_event(found->second);
    if (!event) fail(fmt::format("invalid parameter value: {}", found->second));
    return *event;
  }

  BlkdebugInjectError inject_error() const {
    BlkdebugInjectError rule;
    rule.event = event();
    rule.state = static_cast<std::uint32_t>(number_of("state", 0));
    rule.errno_value = static_cast<int>(number_of("errno", EIO));
    const std::uint64_t any = ~std::uint64_t{0};
    if (const std::uint64_t sector = number_of("sector", any); sector != any) rule.sector = sector;
    rule.once = flag_of("once");
    rule.immediately = flag_of("immediately");
    if (const auto found = values.find("iotype"); found != values.end()) {
      rule.iotype = find_blkdebug_io_type(found->second);
      if (!rule.iotype) fail(fmt::format("invalid parameter value: {}", found->second));
    }
    return rule;
  }
  BlkdebugSetState set_state() const {
    return {event(), static_cast<std::uint32_t>(number_of("state", 0)),
            static_cast<std::uint32_t>(number_of("new_state", 0))};
  }
};

class Parser {
 public:
  void line(std::string_view text) {
    if (text.empty() || text.starts_with('#')) return;
    if (!text.starts_with('[') || !header(text.substr(1))) assignment(text);
  }

  BlkdebugOptions finish() const {
    BlkdebugOptions options;
    for (const Section& section : sections_) {
      if (!section.sets_state) options.inject_error.push_back(section.inject_error());
    }
    for (const Section& section : sections_) {
      if (section.sets_state) options.set_state.push_back(section.set_state());
    }
    return options;
  }

 private:
  /// `[group]` or `[group "id"]`, behind the bracket.
  bool header(std::string_view text) {
    std::string_view rest = skip_blanks(text);
    const std::string_view first_word = take_word(rest);
    const std::string_view id = quoted(skip_blanks(rest));
    if (!first_word.empty() && !id.empty()) {
      begin(first_word, id);
      return true;
    }
    const std::string_view group = text.substr(0, text.find(']'));
    if (group.empty()) return false;
    // As it was read, the line's end belongs to a name that has none.
    begin(group.size() == text.size() ? std::string(group) + '\n' : std::string(group), {});
    return true;
  }

  void begin(std::string_view group, std::string_view id) {
    const bool sets_state = group == "set-state";
    if (!sets_state && group != "inject-error") {
      fail(fmt::format("There is no option group '{}'", group));
    }
    if (!id.empty()) {
      if (!is_identifier(id)) {
        fail(
            "Parameter 'id' expects an identifier\n"
            "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
      }
      std::string name = fmt::format("{}/{}", group, id);
      if (std::find(ids_.begin(), ids_.end(), name) != ids_.end()) {
        fail(fmt::format("Duplicate ID '{}' for {}", id, group));
      }
      ids_.push_back(std::move(name));
    }
    sections_.push_back({sets_state});
  }

  void assignment(std::string_view text) {
    std::string_view rest = skip_blanks(text);
    if (rest.empty()) fail("parse error");
    const std::string_view key = take_word(rest);
    std::string_view value;
    rest = skip_blanks(rest);
    if (rest.starts_with('=')) value = quoted(skip_blanks(rest.substr(1)));
    if (sections_.empty()) fail("no group defined");
    sections_.back().set(key, value);
  }

  std::vector<Section> sections_;
  std::vector<std::string> ids_;
};

}  // namespace

std::optional<BlkdebugIoType> find_blkdebug_io_type(std::string_view name) noexcept {
  const auto found = std::find(kIoTypeNames.begin(), kIoTypeNames.end(), name);
  if (found == kIoTypeNames.end()) return std::nullopt;
  return static_cast<BlkdebugIoType>(found - kIoTypeNames.begin());
}

std::optional<BlkdebugEvent> find_blkdebug_event(std::string_view name) noexcept {
  if (name == "none") return BlkdebugEvent{};
  const std::optional<Event> event = find_event(name);
  if (!event) return std::nullopt;
  return BlkdebugEvent{event};
}

BlkdebugOptions parse_blkdebug_config(std::string_view text) {
  Parser parser;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    parser.line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parser.finish();
}

void read_blkdebug_config(const std::string& path, BlkdebugOptions& options) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw os_error(errno, "Could not read blkdebug config file");
  errno = 0;
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad() || errno == EISDIR) {
    throw os_error(errno != 0 ? errno : EIO, "Cannot read config file");
  }
  BlkdebugOptions read = parse_blkdebug_config(text);
  std::move(read.inject_error.begin(), read.inject_error.end(),
            std::back_inserter(options.inject_error));
  std::move(read.set_state.begin(), read.set_state.end(), std::back_inserter(options.set_state));
}

}  // namespace qcowkit
