// An image's guest bytes as host bytes: filters above formats, and formats in formats.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/mutex.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// The disk that an image shows as a storage, which owns the image and closes it. Writing past the
/// disk's end resizes it first, where the format can. Listener and breakpoints are those of the
/// storage that the image lies in. Filters above formats override what interests them.
class ImageStorage : public Storage {
 public:
  explicit ImageStorage(std::unique_ptr<Image> image);

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override { image_->flush(); }
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override { return image_->virtual_size(); }
  std::uint64_t allocated_bytes() const override;
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override;
  bool is_read_only() const noexcept override { return image_->is_read_only(); }
  const std::string& name() const noexcept override { return image_->filename(); }
  void close() override { image_->close(); }
  Breakpoints* breakpoints() noexcept override { return image_->storage().breakpoints(); }
  void set_listener(EventListener* listener) noexcept override {
    image_->storage().set_listener(listener);
    Storage::set_listener(image_->storage().listener());
  }

  /// The image, which lives as long as this storage.
  Image& image() const noexcept { return *image_; }

 protected:
  /// How requests come to the image, one buffer at a time and within the disk.
  virtual void read_guest(std::uint64_t guest_offset, std::span<std::byte> into) {
    image_->read(guest_offset, into);
  }
  virtual void write_guest(std::uint64_t guest_offset, std::span<const std::byte> from) {
    image_->write(guest_offset, from);
  }

 private:
  void grow_to(std::uint64_t end);

  const std::unique_ptr<Image> image_;
  Mutex growth_mutex_;  // one write at a time makes the disk larger
};

std::unique_ptr<Storage> make_image_storage(std::unique_ptr<Image> image);

}  // namespace qcowkit
