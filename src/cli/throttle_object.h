// --object throttle-group: limits that several nodes keep to together.
#pragma once

#include <memory>

#include "cli/object_definition.h"
#include "qcowkit/throttle.h"

namespace qcowkit::cli {

/// The properties that a definition may have.
const ObjectType& throttle_group_type();

/// Throws `Error` for limits that contradict each other.
std::shared_ptr<ThrottleGroup> make_throttle_group(const ObjectDefinition& definition);

}  // namespace qcowkit::cli
