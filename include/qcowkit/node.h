// Part of qcowkit. MIT licence; see LICENSE.
//
// What an image is made of, in the reference's words: drivers, their options, and their children.
//
//   const auto node = NodeOptions::from_name("nbd://server/disk");
//   const auto disk = Image::open(node);
//
//   const auto throttled = NodeOptions::from_list(
//       "driver=qcow2,file.driver=throttle,file.throttle-group=slow,file.file.filename=disk.qcow2");
//   OpenOptions options;
//   options.objects = std::make_shared<NodeObjects>(NodeObjects{.throttle_groups = groups});
//   const auto slow = Image::open(throttled, options);
//
// docs/drivers.md lists drivers and options.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qcowkit/error.h"
#include "qcowkit/nbd_client.h"
#include "qcowkit/secret.h"
#include "qcowkit/throttle.h"

namespace qcowkit {

/// A tree of drivers and their options, as `Image::open` takes it. Options have names with dots:
/// "file.filename" is the option "filename" of the child "file", "children.0.driver" the driver of
/// the first of several children. A tree is only read; whether it means something is found out when
/// it is opened.
///
/// A plain value: copies are independent, and one object may be read, but not changed, by several
/// threads at once. Every failure throws `Error` with the reference's message: `invalid_argument`,
/// or `unsupported` for names of protocols that do not exist here.
class NodeOptions {
 public:
  /// What JSON knows; null is the option that is explicitly not set ("backing": null).
  using Value = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string>;
  using Values = std::map<std::string, Value, std::less<>>;

  NodeOptions() = default;

  /// What a file name means: a path, "file:path", "json:{...}", or the names of other drivers
  /// ("null-co://", "blkdebug:rules:disk", "blkverify:raw:disk"). `driver`, if not empty, is the
  /// driver to be taken whatever the name says; otherwise the format is found out when it is
  /// opened.
  static NodeOptions from_name(std::string_view name, std::string_view driver = {});
  /// The same for a path, whatever it looks like.
  static NodeOptions from_path(std::string_view path, std::string_view driver = {});
  /// A list "driver=qcow2,file.filename=x"; a doubled comma is a comma in a value. Words without
  /// '=' are switched on, or off if they start with "no", which is an old habit: those are told in
  /// `short_forms`.
  static NodeOptions from_list(std::string_view list,
                               std::vector<std::string>* short_forms = nullptr);
  /// A JSON object. Nested ones mean the same as names with dots.
  static NodeOptions from_json(std::string_view text);

  bool empty() const noexcept { return values_.empty(); }
  /// All options by their names with dots.
  const Values& values() const noexcept { return values_; }
  /// Null if there is no such option.
  const Value* find(std::string_view key) const;
  /// The option's value if it is a text, else an empty one.
  std::string text(std::string_view key) const;
  /// Sets the option, or sets it anew.
  void set(std::string_view key, Value value);
  /// Forgets the option, and the child of this name.
  void remove(std::string_view key);

  /// The child's options; empty if there are none.
  NodeOptions child(std::string_view name) const;
  /// Puts all of `child` under `name`, in place of what was there.
  void set_child(std::string_view name, const NodeOptions& child);
  /// Takes over what is not set here yet.
  void add_defaults(const NodeOptions& other);

  bool operator==(const NodeOptions&) const = default;

 private:
  Values values_;
};

/// True if file names may start with "`name`:".
bool is_protocol(std::string_view name) noexcept;

/// The names of all drivers: formats, then others.
std::vector<std::string_view> driver_names();

/// What options refer to by its id: "key-secret", "throttle-group", "tls-creds".
struct NodeObjects {
  std::map<std::string, std::shared_ptr<const Secret>> secrets = {};
  ThrottleGroups throttle_groups = {};
  std::map<std::string, NbdClientTls> tls_clients = {};
};

}  // namespace qcowkit
