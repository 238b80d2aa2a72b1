// A regular file or a block device as a storage.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "qcowkit/file_backed.h"
#include "qcowkit/storage.h"
#include "storage/copy_offload.h"
#include "storage/direct_io.h"
#include "storage/file_io.h"
#include "storage/file_space.h"
#include "storage/group_flush.h"

namespace qcowkit {

/// See `Storage`. Holds no lock across a system call, but where O_DIRECT forces it to (`DirectIo`).
class FileStorage final : public Storage, public FileBacked {
 public:
  /// See `open_file`.
  static std::unique_ptr<FileStorage> open(const std::string& path, const FileOptions& options);
  ~FileStorage() override;

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  void discard(std::uint64_t host_offset, std::uint64_t length_bytes) override;
  void flush() override;
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override;
  std::uint64_t size() const override;
  std::uint64_t allocated_bytes() const override;
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override { return kind_ == FileKind::regular; }
  std::uint64_t copy_from(Storage& source, std::uint64_t source_host_offset,
                          std::uint64_t host_offset, std::uint64_t length_bytes) override;
  std::uint64_t clone_from(Storage& source, std::uint64_t source_host_offset,
                           std::uint64_t host_offset, std::uint64_t length_bytes) override;
  Run cached_run(std::uint64_t host_offset, std::uint64_t length_bytes) const noexcept override;
  std::uint32_t alignment() const noexcept override;
  bool is_read_only() const noexcept override { return options_.read_only; }
  const std::string& name() const noexcept override { return name_; }
  void close() override;

 private:
  /// What was found when the file was opened.
  struct Opened {
    explicit Opened(int descriptor) noexcept : fd(descriptor) {}

    FileDescriptor fd;
    FileKind kind = FileKind::regular;
    std::uint32_t device_sector_bytes = 0;  // 0 for a regular file
    std::optional<DirectAlignment> direct;  // with O_DIRECT only
    bool is_locked = false;
  };
  static Opened open_descriptor(const std::string& path, const FileOptions& options);

  FileStorage(std::string path, const FileOptions& options, Opened opened);

  void require_writable() const;
  bool is_device() const noexcept { return kind_ != FileKind::regular; }
  /// Each write is durable when it returns.
  bool is_write_through() const noexcept {
    return options_.cache == CacheMode::writethrough || options_.cache == CacheMode::directsync;
  }
  [[noreturn]] void fail(int error, const char* operation, std::uint64_t host_offset,
                         std::uint64_t length_bytes) const;

  int write_range(std::uint64_t host_offset, std::span<const iovec> from);
  bool are_few(std::uint64_t host_offset, std::uint64_t length_bytes) const;
  int write_zero_buffers(std::uint64_t host_offset, std::uint64_t length_bytes);
  int zero_fast(std::uint64_t host_offset, std::uint64_t length_bytes, ZeroOptions options);
  int zero_fast_in_file(std::uint64_t host_offset, std::uint64_t length_bytes, ZeroOptions options);
  int zero_fast_on_device(std::uint64_t host_offset, std::uint64_t length_bytes,
                          ZeroOptions options);
  int punch_in_file(std::uint64_t host_offset, std::uint64_t length_bytes);
  int grow_to(std::uint64_t end);
  int set_size(std::uint64_t new_size_bytes);
  int preallocate(std::uint64_t old_size, std::uint64_t new_size, Preallocation preallocation);
  int sync_if_write_through();

  using Offload = std::uint64_t (CopyOffload::*)(FilePlace, FilePlace, std::uint64_t) noexcept;
  std::uint64_t offload(Offload how, Storage& source, std::uint64_t source_host_offset,
                        std::uint64_t host_offset, std::uint64_t length_bytes);

  // Constant after construction, but for what `close` does to the descriptor.
  const std::string name_;
  const FileOptions options_;
  FileDescriptor fd_;
  const FileKind kind_;
  const std::uint32_t device_sector_bytes_;
  const bool is_locked_;

  // Each looks after its own thread safety.
  std::optional<DirectIo> direct_;
  FileSpace space_;
  FileExtents extents_;
  CopyOffload copy_offload_;
  GroupFlush group_flush_;
};

}  // namespace qcowkit
