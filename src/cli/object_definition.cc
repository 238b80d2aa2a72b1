// What one --object says, checked against the types of objects that there are.
#include "cli/object_definition.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstring>
#include <iterator>
#include <map>
#include <utility>

#include "cli/failure.h"
#include "cli/key_values.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

constexpr std::string_view kTypeKey = "qom-type";
constexpr std::string_view kIdKey = "id";

/// Types of the reference's that no command here has a use for.
constexpr std::array<std::string_view, 14> kOtherTypes = {"authz-pam",
                                                          "iothread",
                                                          "main-loop",
                                                          "memory-backend-file",
                                                          "memory-backend-memfd",
                                                          "memory-backend-ram",
                                                          "pr-manager-helper",
                                                          "rng-builtin",
                                                          "rng-egd",
                                                          "rng-random",
                                                          "secret_keyring",
                                                          "thread-context",
                                                          "tls-cipher-suites",
                                                          "x-remote-object"};

const ObjectType* find_type(std::span<const ObjectType> types, std::string_view name) {
  const auto found = std::ranges::find(types, name, &ObjectType::name);
  return found == types.end() ? nullptr : &*found;
}

const ObjectType& require_type(std::span<const ObjectType> types, const std::string& name) {
  if (const ObjectType* const type = find_type(types, name)) return *type;
  if (std::ranges::find(kOtherTypes, name) != kOtherTypes.end()) {
    throw Failure(fmt::format("invalid object type: {}", name));
  }
  throw Failure(fmt::format("Parameter '{}' does not accept value '{}'", kTypeKey, name));
}

HelpText help_of(std::span<const ObjectType> types, std::string_view wanted) {
  std::string text = "List of user creatable objects:\n";
  const auto add = [&](std::string_view line) { text += fmt::format("  {}\n", line); };
  if (const ObjectType* const type = find_type(types, wanted)) {
    text = fmt::format("{} options:\n", type->name);
    std::ranges::for_each(type->help, add);
  } else {
    std::vector<std::string_view> names;
    for (const ObjectType& known : types) names.push_back(known.name);
    std::ranges::sort(names);
    std::ranges::for_each(names, add);
  }
  return HelpText(text);
}

/// What stands before the first dot.
std::string_view first_part(std::string_view name) { return name.substr(0, name.find('.')); }

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc{} || stopped_at != end) return std::nullopt;
  return number;
}

}  // namespace

ObjectDefinition::ObjectDefinition(const std::string& text, std::span<const ObjectType> types) {
  if (text.starts_with('{')) {
    values_ = NodeOptions::from_json(text).values();
  } else {
    read_list(text, types);
  }
  for (const std::string_view key : {kTypeKey, kIdKey}) {
    const auto found = values_.find(key);
    if (found == values_.end()) {
      const auto part = values_.lower_bound(fmt::format("{}.", key));
      if (part != values_.end() && first_part(part->first) == key) {
        throw Failure(fmt::format("Parameters '{}.*' are unexpected", key));
      }
      throw Failure(fmt::format("Parameter '{}' is missing", key));
    }
    if (!std::holds_alternative<std::string>(found->second)) {
      throw Failure(fmt::format("Invalid parameter type for '{}', expected: string", key));
    }
    if (key == kTypeKey) type_ = &require_type(types, *this->text(kTypeKey));
  }
  for (const auto& [name, value] : values_) {
    if (name != kTypeKey && name != kIdKey) check_property(name, value);
  }
  check_id();
}

ObjectDefinition::~ObjectDefinition() {
  for (auto& [name, value] : values_) {
    if (auto* const text = std::get_if<std::string>(&value)) {
      explicit_bzero(text->data(), text->size());
    }
  }
}

void ObjectDefinition::read_list(const std::string& text, std::span<const ObjectType> types) {
  is_list_ = true;
  bool wants_help = false;
  bool is_type = text.substr(0, text.find(',')).find('=') == text.npos;  // the first word
  for (KeyValue& entry : parse_key_values(text, kTypeKey)) {
    const std::string word = is_type ? entry.value : entry.key;
    if ((entry.is_short || is_type) && (word == "help" || word == "?")) {
      wants_help = true;
    } else if (entry.key.empty() || entry.key.find(',') != entry.key.npos ||
               (is_type && entry.value.empty())) {
      throw Failure("Invalid parameter ''");
    } else if (entry.is_short && !is_type) {
      throw Failure(fmt::format("Expected '=' after parameter '{}'", entry.key));
    } else {
      values_.insert_or_assign(entry.key, std::move(entry.value));
    }
    is_type = false;
  }
  if (!wants_help) return;
  const std::string* const type = this->text(kTypeKey);
  throw help_of(types, type != nullptr ? *type : "");
}

void ObjectDefinition::check_id() const {
  const auto is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  };
  const std::string& name = id();
  const bool starts_well = !name.empty() && std::isalpha(static_cast<unsigned char>(name[0])) != 0;
  if (starts_well && std::ranges::all_of(name, is_part)) return;
  throw Failure(
      "Parameter 'id' expects an identifier\n"
      "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
}

void ObjectDefinition::check_property(const std::string& name, const NodeOptions::Value& value) {
  const std::string_view whole = first_part(name);
  const bool is_part = whole != name;
  const auto property = [&](std::string_view wanted) {
    return std::ranges::find(type_->properties, wanted, &ObjectProperty::name);
  };
  if (const auto found = property(name); found != type_->properties.end()) {
    return check_kind(*found, value);
  }
  if (is_part && values_.contains(whole)) {
    throw Failure(fmt::format("Parameters '{}.*' used inconsistently", whole));
  }
  if (is_part && property(whole) != type_->properties.end()) {
    if (property(whole)->kind == ObjectProperty::Kind::list) return;  // `list` looks at it
    throw Failure(fmt::format("Parameters '{}.*' are unexpected", whole));
  }
  const std::string prefix = fmt::format("{}.", whole);
  const bool has_siblings = std::ranges::any_of(
      type_->properties, [&](const ObjectProperty& p) { return p.name.starts_with(prefix); });
  throw Failure(fmt::format("Parameter '{}' is unexpected", has_siblings ? name : whole));
}

void ObjectDefinition::check_kind(const ObjectProperty& property,
                                  const NodeOptions::Value& value) const {
  using Kind = ObjectProperty::Kind;
  const auto require = [&](bool is_good, std::string_view expected) {
    if (is_good) return;
    throw Failure(
        fmt::format("Invalid parameter type for '{}', expected: {}", property.name, expected));
  };
  const auto* const text = std::get_if<std::string>(&value);
  switch (property.kind) {
    case Kind::text:
      return require(text != nullptr, "string");
    case Kind::integer:
      if (!is_list_) return require(std::holds_alternative<std::int64_t>(value), "integer");
      if (!parse_integer(*text)) {
        throw Failure(fmt::format("Parameter '{}' expects integer", property.name));
      }
      return;
    case Kind::boolean:
      if (!is_list_) return require(std::holds_alternative<bool>(value), "boolean");
      if (!parse_boolean(*text)) {
        throw Failure(fmt::format("Parameter '{}' expects 'on' or 'off'", property.name));
      }
      return;
    case Kind::list:
      return require(std::holds_alternative<std::nullptr_t>(value), "array");  // an empty one
  }
}

std::vector<ObjectDefinition::Member> ObjectDefinition::list(std::string_view name) const {
  std::map<std::size_t, NodeOptions::Values> by_index;
  const std::string prefix = fmt::format("{}.", name);
  const auto path_of = [&](std::size_t index) {
    return is_list_ ? fmt::format("{}.{}", name, index) : fmt::format("{}[{}]", name, index);
  };
  for (auto at = values_.lower_bound(prefix); at != values_.end() && at->first.starts_with(prefix);
       ++at) {
    const std::string_view rest = std::string_view(at->first).substr(prefix.size());
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::optional<std::int64_t> index = parse_integer(rest.substr(0, dot));
    if (!index || *index < 0) {
      throw Failure(fmt::format("Invalid parameter type for '{}', expected: array", name));
    }
    const auto place = static_cast<std::size_t>(*index);
    if (dot == rest.size()) {
      throw Failure(
          fmt::format("Invalid parameter type for '{}', expected: object", path_of(place)));
    }
    by_index[place].emplace(rest.substr(dot + 1), at->second);
  }
  std::vector<Member> members;
  for (auto& [index, values] : by_index) {
    if (index != members.size()) {
      throw Failure(fmt::format("Parameter '{}' missing", path_of(members.size())));
    }
    members.push_back({path_of(index), std::move(values)});
  }
  return members;
}

const std::string* ObjectDefinition::text(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : std::get_if<std::string>(&found->second);
}

std::optional<std::int64_t> ObjectDefinition::integer(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  if (const auto* const number = std::get_if<std::int64_t>(&found->second)) return *number;
  return parse_integer(std::get<std::string>(found->second));
}

std::optional<bool> ObjectDefinition::boolean(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return std::nullopt;
  if (const auto* const flag = std::get_if<bool>(&found->second)) return *flag;
  return parse_boolean(std::get<std::string>(found->second));
}

}  // namespace qcowkit::cli
