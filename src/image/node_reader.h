// A node's options while they are read: what nobody has taken in the end is unknown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "image/drivers.h"
#include "qcowkit/node.h"

namespace qcowkit {

/// Values may be given as texts, as JSON has them, or (JSON's null) not at all. Malformed ones
/// throw `Error` (invalid_argument) in the reference's words.
class NodeReader {
 public:
  explicit NodeReader(NodeOptions options) : all_(options), left_(std::move(options)) {}

  /// All options, taken or not.
  const NodeOptions& all() const noexcept { return all_; }
  /// Those that nobody has taken.
  const NodeOptions& left() const noexcept { return left_; }
  bool has(std::string_view key) const { return left_.find(key) != nullptr; }
  /// True if something of the child is left.
  bool has_child(std::string_view name) const { return !left_.child(name).empty(); }

  /// A text; a value of any other kind counts as none.
  std::string take_name(std::string_view key);
  /// Any value, as text.
  std::optional<std::string> take_text(std::string_view key);
  std::optional<bool> take_boolean(std::string_view key);
  std::optional<std::uint64_t> take_size(std::string_view key);
  /// A negative number counts as 2^64 less it, as it does in the reference.
  std::optional<std::uint64_t> take_number(std::string_view key);
  /// The options of a child.
  NodeOptions take_child(std::string_view name);
  /// The options of a child, which may also be referred to by its name. There are no names to refer
  /// to, so that is an error; JSON's null is no reference.
  NodeOptions take_child_or_reference(std::string_view name);
  /// The same where there has to be one.
  NodeOptions take_required_child(std::string_view name);
  /// Forgets what starts with `prefix`.
  void drop(std::string_view prefix);

  /// Throws if anything is left: the driver does not know it.
  void require_empty(const Driver& driver) const;

 private:
  std::optional<NodeOptions::Value> take(std::string_view key);

  const NodeOptions all_;
  NodeOptions left_;
};

}  // namespace qcowkit
