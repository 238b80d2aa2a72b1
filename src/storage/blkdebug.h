// A storage that fails, delays or splits requests by rules, to test what is above it.
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qcowkit/events.h"
#include "qcowkit/storage.h"

namespace qcowkit {

/// Kinds of requests that a rule may fail.
enum class BlkdebugIoType : std::uint8_t {
  read,
  write,
  write_zeroes,
  discard,
  flush,
  block_status
};

std::optional<BlkdebugIoType> find_blkdebug_io_type(std::string_view name) noexcept;

/// An event, or `std::nullopt` for "none", which comes once: when the storage is made.
using BlkdebugEvent = std::optional<Event>;
std::optional<BlkdebugEvent> find_blkdebug_event(std::string_view name) noexcept;

/// Once `event` has come, requests fail, until the rules of another event take over.
struct BlkdebugInjectError {
  BlkdebugEvent event = {};
  std::uint32_t state = 0;                    ///< only in this state; 0: in any
  std::optional<BlkdebugIoType> iotype = {};  ///< without: all but block_status
  int errno_value = EIO;                      ///< 0 or less: such requests succeed
  std::optional<std::uint64_t> sector = {};   ///< only requests that touch these 512 bytes
  bool once = false;                          ///< the rule ends with the first request that fails
  bool immediately = false;                   ///< accepted; requests here fail at once anyway
};

/// `event` leads to another state. The first state is 1.
struct BlkdebugSetState {
  BlkdebugEvent event = {};
  std::uint32_t state = 0;  ///< only in this state; 0: in any
  std::uint32_t new_state = 0;
};

/// Lengths are in bytes; 0: no limit, or what the child has.
struct BlkdebugOptions {
  std::vector<BlkdebugInjectError> inject_error = {};
  std::vector<BlkdebugSetState> set_state = {};
  std::uint64_t align = 0;         ///< of every request that reaches the child
  std::uint64_t max_transfer = 0;  ///< of a read or write
  /// Parts of it at a zero request's ends become writes of zeroes.
  std::uint64_t opt_write_zero = 0;
  std::uint64_t max_write_zero = 0;
  std::uint64_t opt_discard = 0;
  std::uint64_t max_discard = 0;
  /// Called with one line, without its end, for each request that stops or goes on; empty: it goes
  /// to standard output, as the reference has it.
  std::function<void(std::string_view line)> say = {};
};

/// Reads rules as the reference's rule file has them: sections `[inject-error]` and `[set-state]`
/// with lines `key = "value"`. Throws `Error` (invalid_argument), in the reference's words.
BlkdebugOptions parse_blkdebug_config(std::string_view text);

/// Appends the rules of the file to those of `options`. Throws `Error`: it cannot be read, or what
/// is in it is wrong.
void read_blkdebug_config(const std::string& path, BlkdebugOptions& options);

/// What `child` is, under these rules. It has breakpoints, and listens to the events that are
/// raised on it; a listener that is set hears them first. Thread-safe as every storage; a request
/// that is stopped stops only its own thread. Throws `Error` (EINVAL) if a length does not fit
/// the others.
std::unique_ptr<Storage> make_blkdebug(std::unique_ptr<Storage> child,
                                       const BlkdebugOptions& options);

}  // namespace qcowkit
