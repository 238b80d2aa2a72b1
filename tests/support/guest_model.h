// What a guest may find on a disk: now, and after a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qcowkit::test {

/// A disk as an array of bytes, each of which knows its values: the one that it has now, the one it
/// had at the last flush, and all that were written to it since. After a crash it may have any of
/// them. Of one user; not thread-safe.
class GuestModel {
 public:
  /// `content` is durable.
  explicit GuestModel(std::vector<std::byte> content);

  std::uint64_t size() const noexcept { return current_.size(); }
  /// What the guest reads now.
  std::span<const std::byte> content() const noexcept { return current_; }

  /// A request that changes the range to `bytes` is about to be made: a crash may leave any of them
  /// from now on. One request at a time.
  void begin(std::uint64_t guest_offset, std::vector<std::byte> bytes);
  /// The request begun last has succeeded.
  void acknowledge();
  /// The request begun last, if one is under way, has failed, and the guest now reads `disk` (all
  /// of it): every byte of the request is the old or the new one. From now on that is what it is.
  /// Returns what is wrong with `disk`, if anything is.
  std::optional<std::string> settle(std::span<const std::byte> disk);
  /// A flush has succeeded.
  void flushed();

  // What is wrong with what the guest reads (the whole disk), if anything is.

  std::optional<std::string> compare(std::span<const std::byte> disk) const;
  /// Also where a crash or a failure has come in between.
  std::optional<std::string> compare_after_crash(std::span<const std::byte> disk) const;

 private:
  struct Change {
    std::uint64_t guest_offset;
    std::vector<std::byte> bytes;

    bool has(std::uint64_t offset, std::byte value) const noexcept {
      return offset >= guest_offset && offset - guest_offset < bytes.size() &&
             bytes[offset - guest_offset] == value;
    }
  };

  std::vector<std::byte> current_;
  std::vector<std::byte> durable_;
  std::vector<Change> changes_;  // since the last flush; the last one may be under way
  bool is_under_way_ = false;
};

/// `length_bytes` bytes from `guest_offset` on that no other `fill` and no other place has. They
/// can be compressed to about a quarter.
std::vector<std::byte> recognisable_bytes(std::uint64_t fill, std::uint64_t guest_offset,
                                          std::uint64_t length_bytes);

}  // namespace qcowkit::test
