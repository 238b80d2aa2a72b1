// How ranges of an export are stored, in the terms of the metadata contexts.
#pragma once

#include <cstdint>
#include <vector>

#include "export/nbd/meta_context.h"
#include "export/nbd/served_export.h"

namespace qcowkit::nbd {

/// A run of bytes with the same status.
struct StatusExtent {
  std::uint64_t length_bytes = 0;
  std::uint32_t flags = 0;

  bool operator==(const StatusExtent&) const = default;
};

/// What one request may cost. More is to be asked for again.
inline constexpr std::uint32_t kStatusExtentsMax = 8192;
inline constexpr std::uint32_t kStatusLookupsMax = 65536;

/// The status from `offset` (within the export) on, for at most `length_bytes`: at least one
/// extent, neighbours that differ, and no more than `extents_max`, or than can be found out in
/// short. The range must lie within the export and not be empty. Throws `Error` as `Image::map`
/// does.
std::vector<StatusExtent> block_status(const ServedExport& disk, const MetaContext& context,
                                       std::uint64_t offset, std::uint64_t length_bytes,
                                       std::uint32_t extents_max);

}  // namespace qcowkit::nbd
