// What `info` tells of an image.
#pragma once

#include "formats/qcow2/header.h"
#include "formats/qcow2/snapshot_table.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

SnapshotInfo describe_snapshot(const SnapshotEntry& entry);

/// Fills in what the header and the tables that it names tell. Throws `Error` (corrupt), I/O
/// errors.
void describe(const Header& header, Storage& storage, ImageInfo& info);

}  // namespace qcowkit::qcow2
