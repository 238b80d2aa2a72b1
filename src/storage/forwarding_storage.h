// A storage that hands everything on: what filters override parts of.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "qcowkit/storage.h"

namespace qcowkit {

/// As thread-safe as the storage behind it. Events that are raised here are heard there: the
/// listener is the child's, also when it is set anew. Copies are not offloaded but come as writes,
/// so that a filter sees every byte; one that need not overrides `copy_from` and `clone_from`.
class ForwardingStorage : public Storage {
 public:
  explicit ForwardingStorage(std::unique_ptr<Storage> child);

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
  bool can_grow() const noexcept override;
  std::uint32_t alignment() const noexcept override;
  bool is_read_only() const noexcept override;
  const std::string& name() const noexcept override;
  void close() override;
  Breakpoints* breakpoints() noexcept override;
  void set_listener(EventListener* listener) noexcept override;

 protected:
  Storage& child() const noexcept { return *child_; }

 private:
  const std::unique_ptr<Storage> child_;
};

}  // namespace qcowkit
