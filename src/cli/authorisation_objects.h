// --object authz-simple, authz-list, authz-list-file: who is let in.
#pragma once

#include <functional>
#include <string>

#include "cli/object_definition.h"

namespace qcowkit::cli {

extern const ObjectType kSimpleAuthorisation;
extern const ObjectType kListAuthorisation;
extern const ObjectType kListFileAuthorisation;
/// The same by the name that the reference's documentation has for it.
extern const ObjectType kListFileAuthorisationAlias;

/// True for identities that are let in. Thread-safe.
using Authorisation = std::function<bool(const std::string& identity)>;
/// Throws `Failure` for what is missing or makes no sense.
Authorisation make_authorisation(const ObjectDefinition& definition);

}  // namespace qcowkit::cli
