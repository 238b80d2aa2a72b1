// The table of an image's snapshots.
#pragma once

#include <string>
#include <vector>

#include "qcowkit/info.h"

namespace qcowkit::cli {

/// "Snapshot list:" and a line for each; nothing if there are none. Dates are in local time.
std::string snapshot_list_text(const std::vector<SnapshotInfo>& snapshots);

}  // namespace qcowkit::cli
