// --object: what options refer to by its id.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/authorisation_objects.h"
#include "cli/tls_objects.h"
#include "qcowkit/node.h"

namespace qcowkit::cli {

/// All objects by their ids, each kind apart.
struct Objects {
  NodeObjects of_nodes = {};  ///< what images may refer to
  std::map<std::string, NbdTlsOptions> tls_servers = {};
  std::map<std::string, Authorisation> authorisations = {};

  bool contains(const std::string& id) const;
};

/// Reads the values of all --object options: "TYPE,id=ID,..." or the same as a JSON object, of type
/// secret, throttle-group, tls-creds-{x509,psk,anon} or authz-{simple,list,list-file}. Throws
/// `Failure` or `Error` for any other object and for what cannot be made, and `HelpText` where one
/// of them asks for help.
Objects parse_all_objects(const std::vector<std::string>& definitions);
/// Those that images may refer to.
NodeObjects parse_objects(const std::vector<std::string>& definitions);

}  // namespace qcowkit::cli
