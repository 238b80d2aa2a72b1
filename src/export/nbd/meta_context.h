// Metadata contexts: what block status can tell of (NBD protocol, "Metadata querying"). No I/O, no
// locks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

struct MetaContext {
  enum class Kind { allocation, depth, bitmap };
  std::uint32_t id = 0;
  Kind kind = Kind::allocation;
  std::string name;    ///< "base:allocation", ...
  std::string bitmap;  ///< of a bitmap: its name in the image
};

/// All that an export offers. The place in the list is the ID.
std::vector<MetaContext> contexts_of(const NbdExport& disk);

/// What `NBD_OPT_LIST_META_CONTEXT` finds: without queries everything, else what one of them names,
/// or stands for as "base:", "qemu:" and "qemu:dirty-bitmap:" do. Queries that mean nothing here
/// are no error.
std::vector<MetaContext> list_contexts(const std::vector<MetaContext>& offered,
                                       std::span<const std::string> queries);

/// What `NBD_OPT_SET_META_CONTEXT` selects: only what a query names in full.
std::vector<MetaContext> select_contexts(const std::vector<MetaContext>& offered,
                                         std::span<const std::string> queries);

}  // namespace qcowkit::nbd
