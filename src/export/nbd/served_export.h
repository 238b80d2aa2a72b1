// An export as connections see it: checked, and with what follows from it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "export/nbd/meta_context.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

/// Immutable.
struct ServedExport {
  /// Throws `Error` (invalid_argument) if the export cannot be what it says.
  explicit ServedExport(const NbdExport& wanted, bool serves_many = true);

  std::string name;
  std::string description;
  Image& image;
  bool serves_many_clients;  ///< there is room for more than one connection
  bool read_only;
  std::uint64_t guest_offset;     ///< of the window's first byte
  std::uint64_t size_bytes;       ///< the window's
  std::uint32_t block_bytes_min;  ///< what clients are told ("Size constraints", minimum)
  /// The smallest request that is as cheap as it can be ("Size constraints", preferred).
  std::uint32_t preferred_block_bytes;
  std::vector<MetaContext> contexts;

  /// The transmission flags, but for those that hang on what the client has negotiated.
  std::uint16_t base_flags() const noexcept;
};

}  // namespace qcowkit::nbd
