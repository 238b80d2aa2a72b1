// The drivers "null-co" and "null-aio": a disk without bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "qcowkit/storage.h"

namespace qcowkit {

/// Names and meanings are those of the drivers' options "size", "latency-ns" and "read-zeroes".
struct NullOptions {
  std::uint64_t size_bytes = std::uint64_t{1} << 30;
  std::int64_t latency_nanoseconds = 0;  ///< how long every request takes; not negative
  bool read_zeroes = false;              ///< false: reads leave the reader's buffer as it is
};

/// A storage of a fixed size that forgets what is written to it. Throws `Error` for a negative
/// latency and for a size that no file has.
std::unique_ptr<Storage> make_null_storage(const NullOptions& options,
                                           std::string name = "null-co://");

}  // namespace qcowkit
