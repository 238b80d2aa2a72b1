// What the fuzz targets of the image formats have in common.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "qcowkit/image.h"
#include "storage/forwarding_storage.h"

namespace qcowkit::fuzz {

/// Keeps a copy of its bytes as they are when it is closed.
class CopiedStorage final : public ForwardingStorage {
 public:
  CopiedStorage(std::unique_ptr<Storage> child, Input& copy)
      : ForwardingStorage(std::move(child)), copy_(copy) {}

  void close() override {
    copy_.resize(child().size());
    const iovec all{copy_.data(), copy_.size()};
    child().readv(0, {&all, 1});
    ForwardingStorage::close();
  }

 private:
  Input& copy_;
};

/// The bytes of an image that `fill` has written to.
template <typename Fill>
Input image_bytes(const CreateOptions& options, Fill fill) {
  auto storage = make_memory_storage();
  Image::create(*storage, options);
  OpenOptions open;
  open.format = options.format;
  open.read_only = false;
  open.open_backing = false;
  open.secret = options.secret;
  Input bytes;
  const auto image = Image::open(std::make_unique<CopiedStorage>(std::move(storage), bytes), open);
  fill(*image);
  image->close();
  return bytes;
}

/// Opens the bytes as an image of this format and asks it for all that it tells, and for some of
/// its data; then the same of a writable one, which is changed.
inline void try_image(std::span<const std::uint8_t> bytes, const std::string& format) {
  constexpr std::uint64_t kReadBytesMax = 256 << 10;
  constexpr int kExtentsMax = 1000;
  for (const bool read_only : {true, false}) {
    try {
      auto storage = make_memory_storage();
      const iovec all{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
      if (!bytes.empty()) storage->writev(0, {&all, 1});
      OpenOptions options;
      options.format = format;
      options.read_only = read_only;
      options.open_backing = false;
      options.references = References::none();
      options.unlock = Unlock::never;
      options.for_check = read_only;
      const std::unique_ptr<Image> image = Image::open(std::move(storage), options);
      static_cast<void>(image->info());
      const std::uint64_t size = image->virtual_size();
      std::uint64_t offset = 0;
      for (int extents = 0; offset < size && extents < kExtentsMax; ++extents) {
        offset += image->map(offset, size - offset).length_bytes;
      }
      std::vector<std::byte> data(std::min(size, kReadBytesMax));
      image->read(0, data);
      image->read(size - data.size(), data);
      if (!read_only && !data.empty()) {
        image->write(0, std::span(data).first(1));
        image->write_zeroes(size / 2, std::min<std::uint64_t>(size - size / 2, 4096), true);
        image->discard(0, std::min(size, kReadBytesMax));
        image->flush();
      }
      static_cast<void>(image->check());
      image->close();
    } catch (const Error&) {
      // What an image deserves that is damaged.
    }
  }
}

}  // namespace qcowkit::fuzz
