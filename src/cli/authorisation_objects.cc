// --object authz-simple, authz-list, authz-list-file: who is let in.
#include "cli/authorisation_objects.h"

#include <fmt/core.h>
#include <fnmatch.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/failure.h"
#include "cli/json_text.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

using Kind = ObjectProperty::Kind;

constexpr std::array kSimpleProperties = {ObjectProperty{"identity"}};
constexpr std::array<std::string_view, 1> kSimpleHelp = {"identity=<string>"};
constexpr std::array kListProperties = {ObjectProperty{"policy"},
                                        ObjectProperty{"rules", Kind::list}};
constexpr std::array<std::string_view, 2> kListHelp = {"policy=<QAuthZListPolicy>",
                                                       "rules=<QAuthZListRule>"};
constexpr std::array kFileProperties = {ObjectProperty{"filename"},
                                        ObjectProperty{"refresh", Kind::boolean}};
constexpr std::array<std::string_view, 2> kFileHelp = {"filename=<string>", "refresh=<bool>"};

/// One line of a list of who is let in.
struct Rule {
  std::string match;
  bool allows = false;
  bool is_pattern = false;  ///< as file names have them
};

struct RuleList {
  std::vector<Rule> rules;  ///< the first that matches decides
  bool allows_others = false;

  bool lets_in(const std::string& identity) const {
    for (const Rule& rule : rules) {
      const bool matches = rule.is_pattern ? ::fnmatch(rule.match.c_str(), identity.c_str(), 0) == 0
                                           : rule.match == identity;
      if (matches) return rule.allows;
    }
    return allows_others;
  }
};

bool parse_policy(const std::string& policy) {
  if (policy == "allow") return true;
  if (policy == "deny") return false;
  throw not_accepted("policy", policy);
}

/// True for "glob".
bool parse_format(const std::string& format) {
  if (format == "glob") return true;
  if (format == "exact") return false;
  throw not_accepted("format", format);
}

std::string take_text(ObjectDefinition::Member& member, const std::string& name) {
  const std::string path = fmt::format("{}.{}", member.path, name);
  const auto found = member.values.find(name);
  if (found == member.values.end()) {
    const auto part = member.values.lower_bound(name + '.');
    if (part != member.values.end() && part->first.starts_with(name + '.')) {
      throw Failure(fmt::format("Parameters '{}.*' are unexpected", path));
    }
    throw Failure(fmt::format("Parameter '{}' is missing", path));
  }
  const auto* const text = std::get_if<std::string>(&found->second);
  if (text == nullptr) {
    throw Failure(fmt::format("Invalid parameter type for '{}', expected: string", path));
  }
  std::string value = *text;
  member.values.erase(found);
  return value;
}

Rule read_rule(ObjectDefinition::Member member) {
  Rule rule;
  rule.match = take_text(member, "match");
  rule.allows = parse_policy(take_text(member, "policy"));
  if (member.values.contains("format")) rule.is_pattern = parse_format(take_text(member, "format"));
  if (member.values.empty()) return rule;
  throw Failure(
      fmt::format("Parameter '{}.{}' is unexpected", member.path, member.values.begin()->first));
}

RuleList read_rules(const ObjectDefinition& definition) {
  RuleList list;
  if (const std::string* const policy = definition.text("policy")) {
    list.allows_others = parse_policy(*policy);
  }
  for (ObjectDefinition::Member& member : definition.list("rules")) {
    list.rules.push_back(read_rule(std::move(member)));
  }
  return list;
}

/// A rule of a file's JSON.
Rule read_rule(const Json& entry, const std::string& file) {
  const auto text = [&](const char* name) {
    if (entry.is_object() && entry.contains(name) && entry[name].is_string()) {
      return entry[name].get<std::string>();
    }
    throw Failure(fmt::format("{}: a rule has a \"match\" and a \"policy\"", file));
  };
  Rule rule;
  rule.match = text("match");
  rule.allows = parse_policy(text("policy"));
  if (entry.contains("format")) rule.is_pattern = parse_format(text("format"));
  return rule;
}

RuleList read_file(const std::string& file) {
  std::ifstream stream(file);
  if (!stream) {
    throw Failure(
        fmt::format("Unable to read '{}': {}", file, std::generic_category().message(errno)));
  }
  std::stringstream text;
  text << stream.rdbuf();
  const Json json = Json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw Failure(fmt::format("{}: is no JSON object", file));
  RuleList list;
  for (const auto& [key, value] : json.items()) {
    if (key == "policy" && value.is_string()) {
      list.allows_others = parse_policy(value.get<std::string>());
    } else if (key == "rules" && value.is_array()) {
      for (const Json& entry : value) list.rules.push_back(read_rule(entry, file));
    } else {
      throw Failure(
          fmt::format("{}: has \"policy\", a text, and \"rules\", a list, not \"{}\"", file, key));
    }
  }
  return list;
}

const std::string& required(const ObjectDefinition& definition, std::string_view name) {
  if (const std::string* const text = definition.text(name)) return *text;
  throw Failure(fmt::format("Parameter '{}' is missing", name));
}

Authorisation authorise_by_file(const ObjectDefinition& definition) {
  const std::string& file = required(definition, "filename");
  RuleList list = read_file(file);
  if (!definition.boolean("refresh").value_or(true)) {
    return [list = std::move(list)](const std::string& asked) { return list.lets_in(asked); };
  }
  // Read anew for each client. Nobody is let in by what makes no sense.
  return [file](const std::string& asked) {
    try {
      return read_file(file).lets_in(asked);
    } catch (const Failure&) {
      return false;
    }
  };
}

}  // namespace

constexpr ObjectType kSimpleAuthorisation{"authz-simple", kSimpleProperties, kSimpleHelp};
constexpr ObjectType kListAuthorisation{"authz-list", kListProperties, kListHelp};
constexpr ObjectType kListFileAuthorisation{"authz-list-file", kFileProperties, kFileHelp};
constexpr ObjectType kListFileAuthorisationAlias{"authz-listfile", kFileProperties, kFileHelp};

Authorisation make_authorisation(const ObjectDefinition& definition) {
  if (definition.type() == kSimpleAuthorisation.name) {
    return [identity = required(definition, "identity")](const std::string& asked) {
      return asked == identity;
    };
  }
  if (definition.type() == kListAuthorisation.name) {
    return
        [list = read_rules(definition)](const std::string& asked) { return list.lets_in(asked); };
  }
  return authorise_by_file(definition);
}

}  // namespace qcowkit::cli
