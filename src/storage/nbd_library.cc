// libnbd, loaded when it is first used.
#include "storage/nbd_library.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include "qcowkit/error.h"

namespace qcowkit {

namespace {

constexpr const char* kFile = "libnbd.so.0";

[[noreturn]] void fail() {
  throw Error(Errc::unsupported, fmt::format("NBD needs the library {}, which cannot be loaded: {}",
                                             kFile, ::dlerror()));
}

/// Stays loaded to the end of the process.
void* load() {
  void* const library = ::dlopen(kFile, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail();
  return library;
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* const symbol = ::dlsym(library, name);
  if (symbol == nullptr) fail();
  function = reinterpret_cast<Function>(symbol);
}

}  // namespace

NbdLibrary::NbdLibrary() {
  void* const library = load();
  find(library, "nbd_create", create);
  find(library, "nbd_close", close);
  find(library, "nbd_get_error", get_error);
  find(library, "nbd_get_errno", get_errno);
  find(library, "nbd_set_export_name", set_export_name);
  find(library, "nbd_set_tls", set_tls);
  find(library, "nbd_set_tls_certificates", set_tls_certificates);
  find(library, "nbd_set_tls_psk_file", set_tls_psk_file);
  find(library, "nbd_set_tls_username", set_tls_username);
  find(library, "nbd_set_tls_verify_peer", set_tls_verify_peer);
  find(library, "nbd_set_pread_initialize", set_pread_initialize);
  find(library, "nbd_set_strict_mode", set_strict_mode);
  find(library, "nbd_add_meta_context", add_meta_context);
  find(library, "nbd_connect_unix", connect_unix);
  find(library, "nbd_connect_tcp", connect_tcp);
  find(library, "nbd_shutdown", shutdown);
  find(library, "nbd_get_size", get_size);
  find(library, "nbd_get_block_size", get_block_size);
  find(library, "nbd_is_read_only", is_read_only);
  find(library, "nbd_can_flush", can_flush);
  find(library, "nbd_can_trim", can_trim);
  find(library, "nbd_can_zero", can_zero);
  find(library, "nbd_can_fast_zero", can_fast_zero);
  find(library, "nbd_can_multi_conn", can_multi_conn);
  find(library, "nbd_can_meta_context", can_meta_context);
  find(library, "nbd_aio_pread", aio_pread);
  find(library, "nbd_aio_pwrite", aio_pwrite);
  find(library, "nbd_aio_flush", aio_flush);
  find(library, "nbd_aio_trim", aio_trim);
  find(library, "nbd_aio_zero", aio_zero);
  find(library, "nbd_aio_block_status", aio_block_status);
  find(library, "nbd_aio_get_fd", aio_get_fd);
  find(library, "nbd_aio_get_direction", aio_get_direction);
  find(library, "nbd_aio_notify_read", aio_notify_read);
  find(library, "nbd_aio_notify_write", aio_notify_write);
  find(library, "nbd_aio_is_dead", aio_is_dead);
  find(library, "nbd_aio_is_closed", aio_is_closed);
}

const NbdLibrary& NbdLibrary::get() {
  static const NbdLibrary library;
  return library;
}

}  // namespace qcowkit
