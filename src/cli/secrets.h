// --object secret: passphrases and keys that options refer to by their id.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/object_definition.h"
#include "qcowkit/node.h"
#include "qcowkit/secret.h"

namespace qcowkit::cli {

/// Secrets by their ids, and with them what else options refer to.
using Secrets = NodeObjects;

/// The properties that a secret's definition may have.
extern const ObjectType kSecretType;

/// The secret: "data" or what "file" holds, with "format=base64" where that is so encoded. With
/// "keyid" it is encrypted with another one of `secrets`. Throws `Failure` or `Error`.
std::shared_ptr<const Secret> make_secret(const ObjectDefinition& definition,
                                          const Secrets& secrets);

/// What all --object options define. Throws as `parse_objects` does.
Secrets parse_secrets(const std::vector<std::string>& definitions);

/// The secret of this id. Throws `Failure` if there is none.
std::shared_ptr<const Secret> find_secret(const Secrets& secrets, const std::string& id);
/// The same for one that is to be a passphrase. Throws `Failure` if it is no text.
std::shared_ptr<const Secret> find_passphrase(const Secrets& secrets, const std::string& id);

}  // namespace qcowkit::cli
