// GnuTLS, loaded when it is first used: most connections do without, and every command would pay
// for loading it.
#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

namespace qcowkit {

/// The functions of GnuTLS that are called. Thread-safe.
struct TlsLibrary {
  /// Throws `Error` (unsupported) where the library is not installed.
  static const TlsLibrary& get();

  decltype(&::gnutls_strerror) strerror;
  decltype(&::gnutls_error_is_fatal) error_is_fatal;

  decltype(&::gnutls_certificate_allocate_credentials) certificate_allocate_credentials;
  decltype(&::gnutls_certificate_free_credentials) certificate_free_credentials;
  decltype(&::gnutls_certificate_set_x509_trust_file) certificate_set_x509_trust_file;
  decltype(&::gnutls_certificate_set_x509_crl_file) certificate_set_x509_crl_file;
  decltype(&::gnutls_certificate_set_x509_key_file2) certificate_set_x509_key_file2;
  decltype(&::gnutls_certificate_set_x509_system_trust) certificate_set_x509_system_trust;
  decltype(&::gnutls_certificate_set_dh_params) certificate_set_dh_params;
  decltype(&::gnutls_certificate_set_known_dh_params) certificate_set_known_dh_params;
  decltype(&::gnutls_psk_allocate_server_credentials) psk_allocate_server_credentials;
  decltype(&::gnutls_psk_free_server_credentials) psk_free_server_credentials;
  decltype(&::gnutls_psk_set_server_credentials_file) psk_set_server_credentials_file;
  decltype(&::gnutls_psk_set_server_known_dh_params) psk_set_server_known_dh_params;
  decltype(&::gnutls_psk_set_server_dh_params) psk_set_server_dh_params;
  decltype(&::gnutls_psk_allocate_client_credentials) psk_allocate_client_credentials;
  decltype(&::gnutls_psk_free_client_credentials) psk_free_client_credentials;
  decltype(&::gnutls_psk_set_client_credentials) psk_set_client_credentials;

  decltype(&::gnutls_anon_allocate_server_credentials) anon_allocate_server_credentials;
  decltype(&::gnutls_anon_free_server_credentials) anon_free_server_credentials;
  decltype(&::gnutls_anon_set_server_known_dh_params) anon_set_server_known_dh_params;
  decltype(&::gnutls_anon_set_server_dh_params) anon_set_server_dh_params;
  decltype(&::gnutls_anon_allocate_client_credentials) anon_allocate_client_credentials;
  decltype(&::gnutls_anon_free_client_credentials) anon_free_client_credentials;

  decltype(&::gnutls_dh_params_init) dh_params_init;
  decltype(&::gnutls_dh_params_deinit) dh_params_deinit;
  decltype(&::gnutls_dh_params_import_pkcs3) dh_params_import_pkcs3;

  decltype(&::gnutls_init) init;
  decltype(&::gnutls_deinit) deinit;
  decltype(&::gnutls_priority_set_direct) priority_set_direct;
  decltype(&::gnutls_credentials_set) credentials_set;
  decltype(&::gnutls_certificate_server_set_request) certificate_server_set_request;
  decltype(&::gnutls_server_name_set) server_name_set;
  decltype(&::gnutls_transport_set_ptr) transport_set_ptr;
  decltype(&::gnutls_transport_set_push_function) transport_set_push_function;
  decltype(&::gnutls_transport_set_pull_function) transport_set_pull_function;
  decltype(&::gnutls_transport_set_errno) transport_set_errno;
  decltype(&::gnutls_handshake) handshake;
  decltype(&::gnutls_bye) bye;
  decltype(&::gnutls_certificate_verify_peers2) certificate_verify_peers2;
  decltype(&::gnutls_certificate_get_peers) certificate_get_peers;
  decltype(&::gnutls_psk_server_get_username) psk_server_get_username;
  decltype(&::gnutls_x509_crt_init) x509_crt_init;
  decltype(&::gnutls_x509_crt_deinit) x509_crt_deinit;
  decltype(&::gnutls_x509_crt_import) x509_crt_import;
  decltype(&::gnutls_x509_crt_get_dn) x509_crt_get_dn;
  decltype(&::gnutls_x509_crt_check_hostname) x509_crt_check_hostname;

  decltype(&::gnutls_record_recv) record_recv;
  decltype(&::gnutls_record_send) record_send;
  decltype(&::gnutls_record_check_pending) record_check_pending;

 private:
  TlsLibrary();
};

}  // namespace qcowkit
