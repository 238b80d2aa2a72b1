// Clients of an NBD server for fuzz targets: what they send is in the input.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "base/nbd_wire.h"
#include "fuzz/fuzz_target.h"
#include "qcowkit/nbd.h"

namespace qcowkit::fuzz {

/// A client that says what the input holds, and then hangs up. Replies go nowhere.
class Script final : public NbdTransport {
 public:
  explicit Script(std::span<const std::byte> bytes) : rest_(bytes) {}

  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    const std::size_t count = std::min(into.size(), rest_.size());
    std::copy_n(rest_.begin(), count, into.begin());
    rest_ = rest_.subspan(count);
    return count;
  }
  void wait() override {}
  void send(std::span<const iovec>) override {}
  void shut_down(Direction) noexcept override { rest_ = {}; }

 private:
  std::span<const std::byte> rest_;
};

/// Puts big-endian numbers one behind the other.
class Writer {
 public:
  Writer& number(std::uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      input_.push_back(static_cast<std::uint8_t>(value >> shift));
    }
    return *this;
  }
  Writer& text(const std::string& text) {
    input_.insert(input_.end(), text.begin(), text.end());
    return *this;
  }
  Writer& option(std::uint32_t option, const Input& data = {}) {
    number(0x49484156454f5054, 8).number(option, 4).number(data.size(), 4);
    input_.insert(input_.end(), data.begin(), data.end());
    return *this;
  }
  Writer& option(nbd::Option option, const Input& data = {}) {
    return this->option(static_cast<std::uint32_t>(option), data);
  }
  /// `type`: the command, and in its upper half the flags.
  Writer& request(std::uint32_t type, std::uint64_t offset, std::uint32_t length) {
    return number(0x25609513, 4).number(type, 4).number(7, 8).number(offset, 8).number(length, 4);
  }
  Writer& extended_request(std::uint32_t type, std::uint64_t offset, std::uint64_t length) {
    return number(0x21e41c71, 4).number(type, 4).number(7, 8).number(offset, 8).number(length, 8);
  }
  Input input() const { return input_; }

 private:
  Input input_;
};

}  // namespace qcowkit::fuzz
