// --object tls-creds-x509, tls-creds-psk, tls-creds-anon: how connections are encrypted.
#pragma once

#include <string>

#include "cli/object_definition.h"
#include "cli/secrets.h"
#include "qcowkit/nbd_client.h"
#include "qcowkit/nbd_tls.h"

namespace qcowkit::cli {

extern const ObjectType kX509Credentials;
extern const ObjectType kPskCredentials;
extern const ObjectType kAnonymousCredentials;

/// Credentials are for one end of a connection.
bool is_for_server(const ObjectDefinition& credentials);

/// Both throw `Failure` for what is missing or makes no sense. A key's password is one of
/// `secrets`.
NbdTlsOptions make_server_credentials(const ObjectDefinition& definition, const Secrets& secrets);
NbdClientTls make_client_credentials(const ObjectDefinition& definition, const Secrets& secrets);

}  // namespace qcowkit::cli
