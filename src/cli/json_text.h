// JSON and its plain-text twin, laid out as the reference lays them out.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace qcowkit::cli {

/// Keeps the order in which keys were added.
using Json = nlohmann::ordered_json;

/// `value` with an indentation of four, empty lists over two lines, and everything outside of
/// printable ASCII escaped. Strings may hold any bytes: what is not UTF-8 becomes U+FFFD.
std::string json_text(const Json& value);

/// An object's members as lines "key: value", nested ones indented by four more blanks; dashes in
/// keys become blanks. `indent` is in steps of four blanks.
std::string plain_text(const Json& value, int indent);

}  // namespace qcowkit::cli
