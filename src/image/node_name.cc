// File names that mean more than a path.
#include "image/node_name.h"

#include <fmt/core.h>

#include "image/drivers.h"
#include "image/json_options.h"
#include "image/limits.h"
#include "image/nbd_name.h"
#include "qcowkit/node.h"

namespace qcowkit {

namespace {

constexpr std::string_view kJson = "json:";

std::string_view protocol_of(std::string_view name) noexcept {
  return has_protocol(name) ? name.substr(0, name.find(':')) : std::string_view();
}

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

NodeOptions parse_name(std::string_view name, std::string_view driver, std::size_t depth);
NodeOptions parse_protocol_name(std::string_view name, std::size_t depth);

/// "config:image" behind "blkdebug:".
NodeOptions parse_blkdebug_name(std::string_view name, std::size_t depth) {
  const std::size_t colon = name.find(':');
  if (colon == name.npos) throw invalid("blkdebug requires both config file and image path");
  NodeOptions options;
  if (colon > 0) options.set("config", std::string(name.substr(0, colon)));
  options.set_child("image", parse_protocol_name(name.substr(colon + 1), depth));
  return options;
}

/// "raw:test" behind "blkverify:".
NodeOptions parse_blkverify_name(std::string_view name, std::size_t depth) {
  const std::size_t colon = name.find(':');
  if (colon == name.npos) throw invalid("blkverify requires raw copy and original image path");
  NodeOptions options;
  options.set_child("raw", parse_protocol_name(name.substr(0, colon), depth));
  options.set_child("test", parse_name(name.substr(colon + 1), {}, depth));
  return options;
}

/// True for drivers of which every node is one path.
bool takes_path(std::string_view driver) noexcept {
  return driver == "file" || driver == "host_device" || driver == "host_cdrom";
}

/// What the name says to the driver, which is no format.
NodeOptions parse_drivers_name(std::string_view driver, std::string_view name, std::size_t depth) {
  if (depth == kNodeDepthMax) throw Error(Errc::limit_exceeded, "The name nests too deeply");
  const bool has_own_prefix = protocol_of(name) == driver;
  const std::string_view rest = has_own_prefix ? name.substr(driver.size() + 1) : name;
  NodeOptions options;
  if (takes_path(driver)) {
    options.set("filename", std::string(rest));
  } else if (driver == "nbd") {
    if (find_protocol(protocol_of(name)) != find_driver(driver)) {
      throw invalid("File name string for new protocols must start with 'nbd:'");
    }
    options = parse_nbd_name(name);
  } else if (driver == "null-co" || driver == "null-aio") {
    if (!has_own_prefix || rest != "//") {
      throw invalid(fmt::format("The only allowed filename for this driver is '{}://'", driver));
    }
  } else if (driver == "blkdebug") {
    if (has_own_prefix) {
      options = parse_blkdebug_name(rest, depth + 1);
    } else {
      options.set_child("image", parse_protocol_name(name, depth + 1));
    }
  } else if (driver == "blkverify") {
    if (has_own_prefix) {
      options = parse_blkverify_name(rest, depth + 1);
    } else {
      options.set_child("test", parse_name(name, {}, depth + 1));
    }
  } else if (driver != "quorum") {  // which has no child that could be meant
    options.set_child("file", parse_protocol_name(name, depth + 1));
  }
  options.set("driver", std::string(driver));
  return options;
}

/// What a name means that begins with "json:".
NodeOptions parse_json_name(std::string_view name) {
  try {
    return NodeOptions::from_json(name.substr(kJson.size()));
  } catch (const JsonSyntaxError& error) {
    throw error.within("Could not parse the JSON options");
  }
}

/// What a name means where a storage is wanted.
NodeOptions parse_protocol_name(std::string_view name, std::size_t depth) {
  if (name.starts_with(kJson)) return parse_json_name(name);
  NodeOptions options;
  if (!has_protocol(name)) {
    options.set("filename", std::string(name));
    return options;
  }
  const std::string_view protocol = protocol_of(name);
  const Driver* const driver = find_protocol(protocol);
  if (driver == nullptr) {
    throw Error(Errc::unsupported, fmt::format("Unknown protocol '{}'", protocol));
  }
  return parse_drivers_name(driver->name, name, depth);
}

/// What a name means where an image is wanted.
NodeOptions parse_name(std::string_view name, std::string_view driver, std::size_t depth) {
  NodeOptions options;
  if (name.starts_with(kJson)) {
    options = parse_json_name(name);
  } else if (!driver.empty() && !require_driver(driver).is_format()) {
    return parse_drivers_name(driver, name, depth);
  } else {
    options.set_child("file", parse_protocol_name(name, depth));
  }
  if (!driver.empty()) options.set("driver", std::string(driver));
  return options;
}

}  // namespace

bool has_protocol(std::string_view name) noexcept {
  const std::size_t end = name.find_first_of(":/");
  return end != name.npos && name[end] == ':';
}

NodeOptions NodeOptions::from_name(std::string_view name, std::string_view driver) {
  return parse_name(name, driver, 0);
}

NodeOptions NodeOptions::from_path(std::string_view path, std::string_view driver) {
  const bool is_format = driver.empty() || require_driver(driver).is_format();
  if (!is_format && !takes_path(driver)) return parse_drivers_name(driver, path, 0);
  NodeOptions options;
  if (!driver.empty()) options.set("driver", std::string(driver));
  options.set(is_format ? "file.filename" : "filename", std::string(path));
  return options;
}

NodeOptions storage_from_name(std::string_view name, std::string_view driver) {
  if (driver.empty()) return parse_protocol_name(name, 0);
  require_driver(driver);
  return parse_drivers_name(driver, name, 0);
}

}  // namespace qcowkit
