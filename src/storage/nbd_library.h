// libnbd, loaded when it is first used: most commands never talk NBD, and loading it and what it
// needs would be most of their time.
#pragma once

#include <libnbd.h>

namespace qcowkit {

/// The functions of libnbd that are called. Thread-safe.
struct NbdLibrary {
  /// Throws `Error` (unsupported) where the library is not installed.
  static const NbdLibrary& get();

  decltype(&::nbd_create) create;
  decltype(&::nbd_close) close;
  decltype(&::nbd_get_error) get_error;
  decltype(&::nbd_get_errno) get_errno;

  decltype(&::nbd_set_export_name) set_export_name;
  decltype(&::nbd_set_pread_initialize) set_pread_initialize;
  decltype(&::nbd_set_strict_mode) set_strict_mode;
  decltype(&::nbd_add_meta_context) add_meta_context;
  decltype(&::nbd_set_opt_mode) set_opt_mode;
  decltype(&::nbd_set_full_info) set_full_info;
  decltype(&::nbd_connect_socket) connect_socket;
  decltype(&::nbd_shutdown) shutdown;

  decltype(&::nbd_opt_list) opt_list;
  decltype(&::nbd_opt_info) opt_info;
  decltype(&::nbd_opt_list_meta_context) opt_list_meta_context;
  decltype(&::nbd_opt_abort) opt_abort;
  decltype(&::nbd_clear_meta_contexts) clear_meta_contexts;

  decltype(&::nbd_get_export_description) get_export_description;
  decltype(&::nbd_can_fua) can_fua;
  decltype(&::nbd_can_df) can_df;
  decltype(&::nbd_can_cache) can_cache;
  decltype(&::nbd_is_rotational) is_rotational;
  decltype(&::nbd_get_size) get_size;
  decltype(&::nbd_get_block_size) get_block_size;
  decltype(&::nbd_is_read_only) is_read_only;
  decltype(&::nbd_can_flush) can_flush;
  decltype(&::nbd_can_trim) can_trim;
  decltype(&::nbd_can_zero) can_zero;
  decltype(&::nbd_can_fast_zero) can_fast_zero;
  decltype(&::nbd_can_multi_conn) can_multi_conn;
  decltype(&::nbd_can_meta_context) can_meta_context;

  decltype(&::nbd_aio_pread_structured) aio_pread_structured;
  decltype(&::nbd_aio_pwrite) aio_pwrite;
  decltype(&::nbd_aio_flush) aio_flush;
  decltype(&::nbd_aio_trim) aio_trim;
  decltype(&::nbd_aio_zero) aio_zero;
  decltype(&::nbd_aio_block_status) aio_block_status;
  decltype(&::nbd_aio_get_fd) aio_get_fd;
  decltype(&::nbd_aio_get_direction) aio_get_direction;
  decltype(&::nbd_aio_notify_read) aio_notify_read;
  decltype(&::nbd_aio_notify_write) aio_notify_write;
  decltype(&::nbd_aio_is_dead) aio_is_dead;
  decltype(&::nbd_aio_is_closed) aio_is_closed;

 private:
  NbdLibrary();
};

}  // namespace qcowkit
