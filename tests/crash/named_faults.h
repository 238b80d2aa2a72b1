// The ways in which an operation of the disk fails in the sweeps.
#pragma once

#include <cerrno>
#include <cstdint>
#include <limits>

#include "tests/support/fault_storage.h"

namespace qcowkit::test {

struct NamedFault {
  const char* name;
  Fault fault;
  bool may_be_absorbed;  ///< what was asked for may succeed all the same
};

inline constexpr std::uint64_t kWhole = std::numeric_limits<std::uint64_t>::max();

// Discards are hints, and a lack of space makes the engine look for clusters to reuse.
inline constexpr NamedFault kNamedFaults[] = {
    {"reads", {.operations = kReads}, false},
    {"changes", {.operations = kChanges & ~kDiscards}, false},
    {"changes that happen all the same",
     {.operations = kChanges & ~kDiscards, .torn_bytes = kWhole},
     false},
    {"torn changes", {.operations = kChanges & ~kDiscards, .torn_bytes = 512}, false},
    {"no space", {.operations = kChanges & ~kDiscards, .errno_value = ENOSPC}, true},
    {"discards", {.operations = kDiscards}, true},
    {"flushes", {.operations = kFlushes}, false},
    {"everything from then on", {.operations = kAllOperations & ~kDiscards, .stays = true}, false},
};

}  // namespace qcowkit::test
