// How nodes of drivers that are no formats are opened.
#pragma once

#include "image/node_opener.h"
#include "image/node_reader.h"

namespace qcowkit::drivers {

// Leaves.
OpenedNode open_file(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_host_device(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_host_cdrom(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_nbd(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_null(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_null_aio(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);

// Filters.
OpenedNode open_blkdebug(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_blkverify(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_compress(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_copy_on_read(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_preallocate(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_quorum(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);
OpenedNode open_throttle(NodeOpener& opener, NodeReader& reader, const OpenOptions& options);

}  // namespace qcowkit::drivers
