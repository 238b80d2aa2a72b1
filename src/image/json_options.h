// Options as JSON text.
#pragma once

#include <string>
#include <string_view>

#include "qcowkit/error.h"
#include "qcowkit/node.h"

namespace qcowkit {

/// How deep objects and arrays may lie in each other, as in the reference.
inline constexpr std::size_t kJsonNestingMax = 1024;

/// The text is no JSON.
class JsonSyntaxError : public Error {
 public:
  explicit JsonSyntaxError(const std::string& what) : Error(Errc::invalid_argument, what) {}
};

/// The options in a JSON object, in the reference's dialect: texts may also stand in single quotes.
/// Members of members become names with dots; where one name is given in several ways, the deepest
/// nested counts. Throws in the reference's words: `JsonSyntaxError`, or `Error`
/// (invalid_argument) where the JSON is none of options.
NodeOptions parse_json_options(std::string_view text);

}  // namespace qcowkit
