// Texts as JSON writes them.
#pragma once

#include <string>
#include <string_view>

namespace qcowkit {

/// Appends `text` in quotes, with everything outside of printable ASCII escaped. It may hold any
/// bytes: what is not UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace qcowkit
