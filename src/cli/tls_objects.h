// --object tls-creds-x509, tls-creds-psk, authz-simple, authz-listfile: who may talk to whom,
// encrypted.
#pragma once

#include <functional>
#include <string>

#include "cli/object_definition.h"
#include "qcowkit/nbd_client.h"
#include "qcowkit/nbd_tls.h"

namespace qcowkit::cli {

/// The properties that definitions may have.
const ObjectType& x509_credentials_type();
const ObjectType& psk_credentials_type();
const ObjectType& simple_authorisation_type();
const ObjectType& list_authorisation_type();

/// Credentials are for one end of a connection.
bool is_for_server(const ObjectDefinition& credentials);

/// All throw `Failure` for what is missing or makes no sense.
NbdTlsOptions make_server_credentials(const ObjectDefinition& definition);
NbdClientTls make_client_credentials(const ObjectDefinition& definition);

/// True for identities that are let in.
using Authorisation = std::function<bool(const std::string& identity)>;
Authorisation make_authorisation(const ObjectDefinition& definition);

}  // namespace qcowkit::cli
