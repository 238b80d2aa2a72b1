// The drivers that nodes can be of.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace qcowkit {

class NodeOpener;
class NodeReader;
struct OpenedNode;
struct OpenOptions;

struct Driver {
  /// Opens a node whose options `reader` holds. Null for formats.
  using Open = OpenedNode (*)(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);

  std::string_view name;
  Open open;
  /// File names may start with its name ("blkdebug:..."). What the reference calls a protocol.
  bool is_protocol;
  /// The options that decide what is read, so that a name without them would mean another disk.
  /// Those that end in a dot stand for all that start so.
  std::span<const std::string_view> strong_options;

  bool is_format() const noexcept { return open == nullptr; }
};

/// Null: there is no such driver.
const Driver* find_driver(std::string_view name) noexcept;
/// The driver that file names mean which start with "`name`:"; null: there is none.
const Driver* find_protocol(std::string_view name) noexcept;
/// Throws `Error` (unsupported) "Unknown driver 'x'".
const Driver& require_driver(std::string_view name);

/// What stands before the first ':' of a name, if that comes before any '/', and if there is one.
bool has_protocol(std::string_view name) noexcept;

}  // namespace qcowkit
