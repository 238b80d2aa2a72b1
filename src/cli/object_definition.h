// What one --object says, checked against the types of objects that there are.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qcowkit/node.h"

namespace qcowkit::cli {

/// One property of a type of objects.
struct ObjectProperty {
  enum class Kind { text, integer, boolean, list };  ///< list: of objects, as "rules.0.match"

  std::string_view name;  ///< "limits.iops-total" is part of "limits"
  Kind kind = Kind::text;
};

/// A type of objects.
struct ObjectType {
  std::string_view name;
  std::span<const ObjectProperty> properties;
  std::span<const std::string_view> help;  ///< the properties, as help lists them
};

/// A definition "TYPE,id=ID,PROPERTY=VALUE,..." or the same as a JSON object. What it says is wiped
/// when it is not needed any more; the command line itself is for everybody to see anyway, and
/// secrets belong in files.
class ObjectDefinition {
 public:
  /// Throws `Failure` unless it is a definition of one of `types`, with properties that this type
  /// has, and `HelpText` if it asks for help.
  ObjectDefinition(const std::string& text, std::span<const ObjectType> types);
  ~ObjectDefinition();
  ObjectDefinition(const ObjectDefinition&) = delete;
  ObjectDefinition& operator=(const ObjectDefinition&) = delete;

  std::string_view type() const noexcept { return type_->name; }
  const std::string& id() const { return *text("id"); }
  /// Null if it is not given.
  const std::string* text(std::string_view name) const;
  std::optional<std::int64_t> integer(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;

  /// One member of a list: its values by their names, and what messages call each.
  struct Member {
    std::string path;  ///< "rules.0", "rules[0]"
    NodeOptions::Values values;
  };
  /// In their order. Throws `Failure` for what is no list of objects.
  std::vector<Member> list(std::string_view name) const;

 private:
  void read_list(const std::string& text, std::span<const ObjectType> types);
  void check_id() const;
  void check_property(const std::string& name, const NodeOptions::Value& value);
  void check_kind(const ObjectProperty& property, const NodeOptions::Value& value) const;

  NodeOptions::Values values_;
  bool is_list_ = false;  ///< all values are texts, whatever they mean
  const ObjectType* type_ = nullptr;
};

}  // namespace qcowkit::cli
