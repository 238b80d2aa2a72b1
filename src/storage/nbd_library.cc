// libnbd, loaded when it is first used.
#include "storage/nbd_library.h"

#include "base/shared_library.h"

namespace qcowkit {

NbdLibrary::NbdLibrary() {
  const SharedLibrary library("libnbd.so.0", "NBD");
  library.find("nbd_create", create);
  library.find("nbd_close", close);
  library.find("nbd_get_error", get_error);
  library.find("nbd_get_errno", get_errno);
  library.find("nbd_set_export_name", set_export_name);
  library.find("nbd_set_pread_initialize", set_pread_initialize);
  library.find("nbd_set_strict_mode", set_strict_mode);
  library.find("nbd_add_meta_context", add_meta_context);
  library.find("nbd_set_opt_mode", set_opt_mode);
  library.find("nbd_set_full_info", set_full_info);
  library.find("nbd_connect_socket", connect_socket);
  library.find("nbd_shutdown", shutdown);
  library.find("nbd_opt_list", opt_list);
  library.find("nbd_opt_info", opt_info);
  library.find("nbd_opt_list_meta_context", opt_list_meta_context);
  library.find("nbd_opt_abort", opt_abort);
  library.find("nbd_clear_meta_contexts", clear_meta_contexts);
  library.find("nbd_get_export_description", get_export_description);
  library.find("nbd_can_fua", can_fua);
  library.find("nbd_can_df", can_df);
  library.find("nbd_can_cache", can_cache);
  library.find("nbd_is_rotational", is_rotational);
  library.find("nbd_get_size", get_size);
  library.find("nbd_get_block_size", get_block_size);
  library.find("nbd_is_read_only", is_read_only);
  library.find("nbd_can_flush", can_flush);
  library.find("nbd_can_trim", can_trim);
  library.find("nbd_can_zero", can_zero);
  library.find("nbd_can_fast_zero", can_fast_zero);
  library.find("nbd_can_multi_conn", can_multi_conn);
  library.find("nbd_can_meta_context", can_meta_context);
  library.find("nbd_aio_pread_structured", aio_pread_structured);
  library.find("nbd_aio_pwrite", aio_pwrite);
  library.find("nbd_aio_flush", aio_flush);
  library.find("nbd_aio_trim", aio_trim);
  library.find("nbd_aio_zero", aio_zero);
  library.find("nbd_aio_block_status", aio_block_status);
  library.find("nbd_aio_get_fd", aio_get_fd);
  library.find("nbd_aio_get_direction", aio_get_direction);
  library.find("nbd_aio_notify_read", aio_notify_read);
  library.find("nbd_aio_notify_write", aio_notify_write);
  library.find("nbd_aio_is_dead", aio_is_dead);
  library.find("nbd_aio_is_closed", aio_is_closed);
}

const NbdLibrary& NbdLibrary::get() {
  static const NbdLibrary library;
  return library;
}

}  // namespace qcowkit
