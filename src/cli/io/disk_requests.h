// The requests of the I/O program, which fail in the reference's ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>

#include "qcowkit/image.h"

namespace qcowkit::cli::io {

void read_disk(Image& image, std::uint64_t offset, std::span<std::byte> into);

/// With `durable`, it is flushed when the call returns.
void write_disk(Image& image, std::uint64_t offset, std::span<const std::byte> from, bool durable);

struct ZeroRequest {
  std::uint64_t offset;
  std::uint64_t length_bytes;
  bool may_unmap = false;
  bool no_fallback = false;  ///< fail rather than write buffers of zeroes
  bool durable = false;
};
void write_zeroes_to_disk(Image& image, const ZeroRequest& request);

/// Stores whole clusters compressed, where nothing is stored yet.
void write_compressed_to_disk(Image& image, std::uint64_t offset, std::span<const std::byte> from);

void discard_on_disk(Image& image, std::uint64_t offset, std::uint64_t length_bytes);

/// The error's name as the system has it: "Input/output error". To be called while it is handled.
std::string error_name(const std::exception& error);

}  // namespace qcowkit::cli::io
