// GnuTLS, loaded when it is first used.
#include "base/tls_library.h"

#include "base/shared_library.h"

namespace qcowkit {

TlsLibrary::TlsLibrary() {
  const SharedLibrary library("libgnutls.so.30", "TLS");
  library.find("gnutls_strerror", strerror);
  library.find("gnutls_error_is_fatal", error_is_fatal);
  library.find("gnutls_certificate_allocate_credentials", certificate_allocate_credentials);
  library.find("gnutls_certificate_free_credentials", certificate_free_credentials);
  library.find("gnutls_certificate_set_x509_trust_file", certificate_set_x509_trust_file);
  library.find("gnutls_certificate_set_x509_crl_file", certificate_set_x509_crl_file);
  library.find("gnutls_certificate_set_x509_key_file2", certificate_set_x509_key_file2);
  library.find("gnutls_certificate_set_x509_system_trust", certificate_set_x509_system_trust);
  library.find("gnutls_certificate_set_dh_params", certificate_set_dh_params);
  library.find("gnutls_certificate_set_known_dh_params", certificate_set_known_dh_params);
  library.find("gnutls_psk_allocate_server_credentials", psk_allocate_server_credentials);
  library.find("gnutls_psk_free_server_credentials", psk_free_server_credentials);
  library.find("gnutls_psk_set_server_credentials_file", psk_set_server_credentials_file);
  library.find("gnutls_psk_set_server_known_dh_params", psk_set_server_known_dh_params);
  library.find("gnutls_psk_set_server_dh_params", psk_set_server_dh_params);
  library.find("gnutls_psk_allocate_client_credentials", psk_allocate_client_credentials);
  library.find("gnutls_psk_free_client_credentials", psk_free_client_credentials);
  library.find("gnutls_psk_set_client_credentials", psk_set_client_credentials);
  library.find("gnutls_anon_allocate_server_credentials", anon_allocate_server_credentials);
  library.find("gnutls_anon_free_server_credentials", anon_free_server_credentials);
  library.find("gnutls_anon_set_server_known_dh_params", anon_set_server_known_dh_params);
  library.find("gnutls_anon_set_server_dh_params", anon_set_server_dh_params);
  library.find("gnutls_anon_allocate_client_credentials", anon_allocate_client_credentials);
  library.find("gnutls_anon_free_client_credentials", anon_free_client_credentials);
  library.find("gnutls_dh_params_init", dh_params_init);
  library.find("gnutls_dh_params_deinit", dh_params_deinit);
  library.find("gnutls_dh_params_import_pkcs3", dh_params_import_pkcs3);
  library.find("gnutls_init", init);
  library.find("gnutls_deinit", deinit);
  library.find("gnutls_priority_set_direct", priority_set_direct);
  library.find("gnutls_credentials_set", credentials_set);
  library.find("gnutls_certificate_server_set_request", certificate_server_set_request);
  library.find("gnutls_server_name_set", server_name_set);
  library.find("gnutls_transport_set_ptr", transport_set_ptr);
  library.find("gnutls_transport_set_push_function", transport_set_push_function);
  library.find("gnutls_transport_set_pull_function", transport_set_pull_function);
  library.find("gnutls_transport_set_errno", transport_set_errno);
  library.find("gnutls_handshake", handshake);
  library.find("gnutls_bye", bye);
  library.find("gnutls_certificate_verify_peers2", certificate_verify_peers2);
  library.find("gnutls_certificate_get_peers", certificate_get_peers);
  library.find("gnutls_psk_server_get_username", psk_server_get_username);
  library.find("gnutls_x509_crt_init", x509_crt_init);
  library.find("gnutls_x509_crt_deinit", x509_crt_deinit);
  library.find("gnutls_x509_crt_import", x509_crt_import);
  library.find("gnutls_x509_crt_get_dn", x509_crt_get_dn);
  library.find("gnutls_x509_crt_check_hostname", x509_crt_check_hostname);
  library.find("gnutls_record_recv", record_recv);
  library.find("gnutls_record_send", record_send);
  library.find("gnutls_record_check_pending", record_check_pending);
}

const TlsLibrary& TlsLibrary::get() {
  static const TlsLibrary library;
  return library;
}

}  // namespace qcowkit
