// What an Image holds.
#pragma once

#include <memory>
#include <string>

#include "formats/layer.h"
#include "image/named.h"
#include "qcowkit/image.h"

namespace qcowkit {

struct Image::Impl {
  std::string filename;
  std::string format;
  std::string backing_path;        ///< what the stored backing name means; empty: none
  std::unique_ptr<Image> backing;  // outlives the layer, which reads from it
  std::unique_ptr<Layer> layer;
  OpenOptions options;         ///< as it was opened
  bool has_path = false;       ///< `filename` was opened, not a storage
  Impl* overlay = nullptr;     ///< the image whose backing file this is, if it is one
  bool write_through = false;  ///< each change is durable when its call returns
  bool closed = false;

  /// Throws `Error` (invalid_argument) unless the range lies within the disk.
  void require_range(std::uint64_t guest_offset, std::uint64_t length_bytes) const;

  /// Runs a changing request on the layer.
  template <typename Request>
  void change(Request request) {
    named(filename, [&] {
      request(*layer);
      if (write_through) layer->flush();
    });
  }

  /// Opens the file anew for reading only or for writing.
  void reopen(bool read_only);

  /// The images opened on the way from the top of a chain to here.
  struct Chain {
    std::vector<std::string> identities;
  };
  static std::unique_ptr<Image> open(const std::string& path, const OpenOptions& options,
                                     Chain& chain);
  static std::unique_ptr<Image> open(std::unique_ptr<Storage> storage, const OpenOptions& options,
                                     Chain& chain);
};

}  // namespace qcowkit
