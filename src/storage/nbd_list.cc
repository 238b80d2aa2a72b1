// What an NBD server offers.
#include <memory>

#include "qcowkit/nbd_client.h"
#include "storage/nbd_handle.h"

namespace qcowkit {

namespace {

struct CloseHandle {
  const NbdLibrary* nbd;
  void operator()(nbd_handle* handle) const { nbd->close(handle); }
};
using Handle = std::unique_ptr<nbd_handle, CloseHandle>;

int add_export(void* exports, const char* name, const char* description) {
  NbdExportInfo info;
  info.name = name;
  info.description = description;
  static_cast<std::vector<NbdExportInfo>*>(exports)->push_back(std::move(info));
  return 0;
}

int add_context(void* info, const char* name) {
  static_cast<NbdExportInfo*>(info)->meta_contexts.emplace_back(name);
  return 0;
}

std::uint16_t flags_of(const NbdLibrary& nbd, nbd_handle* handle) {
  // The bits' places are the protocol's.
  struct Kind {
    int (*is_set)(nbd_handle*);
    int bit;
  };
  const Kind kinds[] = {
      {nbd.is_read_only, 1}, {nbd.can_flush, 2},      {nbd.can_fua, 3}, {nbd.is_rotational, 4},
      {nbd.can_trim, 5},     {nbd.can_zero, 6},       {nbd.can_df, 7},  {nbd.can_multi_conn, 8},
      {nbd.can_cache, 10},   {nbd.can_fast_zero, 11},
  };
  std::uint16_t flags = 1;
  for (const Kind& kind : kinds) {
    if (kind.is_set(handle) > 0) flags = static_cast<std::uint16_t>(flags | 1u << kind.bit);
  }
  return flags;
}

void ask(const NbdLibrary& nbd, nbd_handle* handle, NbdExportInfo& info) {
  require_nbd(nbd, nbd.set_export_name(handle, info.name.c_str()));
  if (nbd.opt_info(handle) == 0) {
    const std::int64_t size = nbd.get_size(handle);
    if (size >= 0) info.size_bytes = static_cast<std::uint64_t>(size);
    info.flags = flags_of(nbd, handle);
    const std::int64_t minimum = nbd.get_block_size(handle, LIBNBD_SIZE_MINIMUM);
    const std::int64_t preferred = nbd.get_block_size(handle, LIBNBD_SIZE_PREFERRED);
    const std::int64_t maximum = nbd.get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
    if (minimum > 0 && preferred > 0 && maximum > 0) {
      info.block_sizes = {static_cast<std::uint64_t>(minimum),
                          static_cast<std::uint64_t>(preferred),
                          static_cast<std::uint64_t>(maximum)};
    }
  }
  // Servers without such contexts, or without the option, have none to tell of.
  require_nbd(nbd, nbd.clear_meta_contexts(handle));
  nbd.opt_list_meta_context(handle, {add_context, &info, nullptr});
}

}  // namespace

std::vector<NbdExportInfo> list_nbd_exports(const NbdClientOptions& options) {
  const NbdLibrary& nbd = NbdLibrary::get();
  std::unique_ptr<NbdTlsRelay> relay;  // goes after the handle
  const Handle handle(nbd.create(), CloseHandle{&nbd});
  if (!handle) throw last_nbd_error(nbd);
  require_nbd(nbd, nbd.set_opt_mode(handle.get(), true));
  require_nbd(nbd, nbd.set_full_info(handle.get(), true));
  relay = connect_to_server(nbd, handle.get(), options);
  std::vector<NbdExportInfo> exports;
  require_nbd(nbd, nbd.opt_list(handle.get(), {add_export, &exports, nullptr}));
  for (NbdExportInfo& info : exports) ask(nbd, handle.get(), info);
  nbd.opt_abort(handle.get());
  return exports;
}

}  // namespace qcowkit
