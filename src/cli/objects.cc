// --object: what options refer to by its id.
#include "cli/objects.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "cli/failure.h"
#include "cli/secrets.h"
#include "cli/throttle_object.h"

namespace qcowkit::cli {

namespace {

void add_secret(const ObjectDefinition& definition, Objects& objects) {
  objects.of_nodes.secrets.emplace(definition.id(), make_secret(definition, objects.of_nodes));
}

void add_throttle_group(const ObjectDefinition& definition, Objects& objects) {
  objects.of_nodes.throttle_groups.emplace(definition.id(), make_throttle_group(definition));
}

void add_credentials(const ObjectDefinition& definition, Objects& objects) {
  if (is_for_server(definition)) {
    objects.tls_servers.emplace(definition.id(),
                                make_server_credentials(definition, objects.of_nodes));
  } else {
    objects.of_nodes.tls_clients.emplace(definition.id(),
                                         make_client_credentials(definition, objects.of_nodes));
  }
}

void add_authorisation(const ObjectDefinition& definition, Objects& objects) {
  objects.authorisations.emplace(definition.id(), make_authorisation(definition));
}

/// For types that are constants; that of throttle groups is made at run time.
template <const ObjectType& kType>
const ObjectType& constant() {
  return kType;
}

/// A type of objects, and what becomes of one.
struct Maker {
  const ObjectType& (*type)();
  void (*add)(const ObjectDefinition& definition, Objects& objects);
};
constexpr std::array kMakers = {
    Maker{constant<kSecretType>, add_secret},
    Maker{throttle_group_type, add_throttle_group},
    Maker{constant<kX509Credentials>, add_credentials},
    Maker{constant<kPskCredentials>, add_credentials},
    Maker{constant<kAnonymousCredentials>, add_credentials},
    Maker{constant<kSimpleAuthorisation>, add_authorisation},
    Maker{constant<kListAuthorisation>, add_authorisation},
    Maker{constant<kListFileAuthorisation>, add_authorisation},
    Maker{constant<kListFileAuthorisationAlias>, add_authorisation},
};

}  // namespace

bool Objects::contains(const std::string& id) const {
  return of_nodes.secrets.contains(id) || of_nodes.throttle_groups.contains(id) ||
         of_nodes.tls_clients.contains(id) || tls_servers.contains(id) ||
         authorisations.contains(id);
}

Objects parse_all_objects(const std::vector<std::string>& definitions) {
  Objects objects;
  if (definitions.empty()) return objects;
  std::vector<ObjectType> types;
  for (const Maker& maker : kMakers) types.push_back(maker.type());
  for (const std::string& text : definitions) {
    const ObjectDefinition definition(text, types);
    const auto type = std::ranges::find(types, definition.type(), &ObjectType::name);
    const auto add = kMakers[static_cast<std::size_t>(type - types.begin())].add;
    if (objects.contains(definition.id())) {
      // What it is made of is looked at first, as the reference does.
      Objects unwanted;
      unwanted.of_nodes.secrets = objects.of_nodes.secrets;
      unwanted.of_nodes.secrets.erase(definition.id());
      add(definition, unwanted);
      throw Failure(fmt::format(
          "attempt to add duplicate property '{}' to object (type 'container')", definition.id()));
    }
    add(definition, objects);
  }
  return objects;
}

NodeObjects parse_objects(const std::vector<std::string>& definitions) {
  return parse_all_objects(definitions).of_nodes;
}

}  // namespace qcowkit::cli
