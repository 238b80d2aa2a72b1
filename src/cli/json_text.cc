// JSON and its plain-text twin, laid out as the reference lays them out.
#include "cli/json_text.h"

#include <fmt/core.h>

#include <iterator>

#include "base/json_string.h"

namespace qcowkit::cli {

namespace {

constexpr std::size_t kIndentWidth = 4;

void append_new_line(std::string& out, std::size_t indent) {
  out += '\n';
  out.append(indent * kIndentWidth, ' ');
}

void append_json(std::string& out, const Json& value, std::size_t indent) {
  if (value.is_string()) {
    append_json_string(out, value.get_ref<const std::string&>());
    return;
  }
  if (!value.is_structured()) {
    out += value.dump();
    return;
  }
  out += value.is_object() ? '{' : '[';
  bool is_first = true;
  for (const auto& [key, member] : value.items()) {
    if (!is_first) out += ',';
    append_new_line(out, indent + 1);
    is_first = false;
    if (value.is_object()) {
      append_json_string(out, key);
      out += ": ";
    }
    append_json(out, member, indent + 1);
  }
  append_new_line(out, indent);
  out += value.is_object() ? '}' : ']';
}

}  // namespace

std::string json_text(const Json& value) {
  std::string out;
  append_json(out, value, 0);
  out += '\n';
  return out;
}

std::string plain_text(const Json& value, int indent) {
  std::string out;
  std::size_t index = 0;
  for (const auto& [key, member] : value.items()) {
    std::string label = key;
    if (value.is_array()) label = fmt::format("[{}]", index++);
    for (char& c : label) {
      if (c == '-') c = ' ';
    }
    fmt::format_to(std::back_inserter(out), "{:{}}{}:", "", indent * int{kIndentWidth}, label);
    if (member.is_structured()) {
      out += '\n';
      out += plain_text(member, indent + 1);
    } else {
      out += ' ';
      out += member.is_string() ? member.get<std::string>() : member.dump();
      out += '\n';
    }
  }
  return out;
}

}  // namespace qcowkit::cli
