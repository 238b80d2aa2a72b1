// --object secret: passphrases and keys that options refer to by their id.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "qcowkit/secret.h"

namespace qcowkit::cli {

/// Secrets by their ids.
using Secrets = std::map<std::string, std::shared_ptr<const Secret>>;

/// Reads the values of all --object options: "secret,id=ID,data=TEXT", "secret,id=ID,file=NAME",
/// with "format=base64" where the text is so encoded, or the same as a JSON object. Throws
/// `Failure` for any other object and for a file that cannot be read.
Secrets parse_secrets(const std::vector<std::string>& definitions);

/// The secret of this id. Throws `Failure` if there is none.
std::shared_ptr<const Secret> find_secret(const Secrets& secrets, const std::string& id);

}  // namespace qcowkit::cli
