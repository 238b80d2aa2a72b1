// What the driver "nbd" is in a build without libnbd.
#include "qcowkit/error.h"
#include "storage/nbd_storage.h"

namespace qcowkit {

std::unique_ptr<Storage> open_nbd_storage(const NbdClientOptions& options) {
  throw Error(Errc::unsupported, options.name + ": this build of qcowkit has no NBD client");
}

std::vector<NbdExportInfo> list_nbd_exports(const NbdClientOptions& /*options*/) {
  throw Error(Errc::unsupported, "this build of qcowkit has no NBD client");
}

}  // namespace qcowkit
