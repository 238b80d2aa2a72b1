// A storage that hands everything on: what filters override parts of.
#include "storage/forwarding_storage.h"

#include <utility>

namespace qcowkit {

ForwardingStorage::ForwardingStorage(std::unique_ptr<Storage> child) : child_(std::move(child)) {
  Storage::set_listener(child_->listener());
}

void ForwardingStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  child_->readv(host_offset, into);
}

void ForwardingStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  child_->writev(host_offset, from);
}

bool ForwardingStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                     ZeroOptions options) {
  return child_->write_zeroes(host_offset, length_bytes, options);
}

void ForwardingStorage::discard(std::uint64_t host_offset, std::uint64_t length_bytes) {
  child_->discard(host_offset, length_bytes);
}

void ForwardingStorage::flush() { child_->flush(); }

void ForwardingStorage::resize(std::uint64_t new_size_bytes, Preallocation preallocation) {
  child_->resize(new_size_bytes, preallocation);
}

std::uint64_t ForwardingStorage::size() const { return child_->size(); }

std::uint64_t ForwardingStorage::allocated_bytes() const { return child_->allocated_bytes(); }

StorageExtent ForwardingStorage::extent_at(std::uint64_t host_offset,
                                           std::uint64_t length_bytes) const {
  return child_->extent_at(host_offset, length_bytes);
}

bool ForwardingStorage::can_grow() const noexcept { return child_->can_grow(); }

std::uint32_t ForwardingStorage::alignment() const noexcept { return child_->alignment(); }

bool ForwardingStorage::is_read_only() const noexcept { return child_->is_read_only(); }

const std::string& ForwardingStorage::name() const noexcept { return child_->name(); }

void ForwardingStorage::close() { child_->close(); }

Breakpoints* ForwardingStorage::breakpoints() noexcept { return child_->breakpoints(); }

void ForwardingStorage::set_listener(EventListener* listener) noexcept {
  child_->set_listener(listener);
  Storage::set_listener(child_->listener());
}

}  // namespace qcowkit
