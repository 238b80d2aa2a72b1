// What clients ask once they have negotiated (NBD protocol, "Transmission"). No I/O, no locks:
// bytes in, checked values out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/nbd_wire.h"
#include "export/nbd/meta_context.h"

namespace qcowkit::nbd {

/// How requests and replies look, as negotiated.
enum class Style : std::uint8_t {
  simple,      ///< compact requests, simple replies
  structured,  ///< compact requests, structured replies
  extended,    ///< extended requests and replies
};

constexpr std::size_t request_header_bytes(Style style) noexcept {
  return style == Style::extended ? sizeof(ExtendedRequest) : sizeof(CompactRequest);
}

struct Request {
  Command command{};  ///< may be one that `Command` does not name
  std::uint16_t flags = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;  ///< within the export
  /// How much of the export is meant. With a payload that is not data to be written: not known yet.
  std::uint64_t length_bytes = 0;
  std::uint32_t payload_bytes = 0;  ///< that follow the header

  bool has(std::uint16_t flag) const noexcept { return (flags & flag) != 0; }
};

/// Nothing if the connection cannot go on: the magic is wrong, or the payload is larger than an
/// extended header may announce. `header` has `request_header_bytes(style)`.
std::optional<Request> parse_request(std::span<const std::byte> header, Style style) noexcept;

/// What a session lets its client ask for.
struct Rules {
  Style style = Style::simple;
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  std::uint32_t contexts = 0;  ///< metadata contexts that were selected
};

/// Why a request is refused; `none` if it is to be served. A payload is to be skipped in any case.
WireError check_request(const Request& request, const Rules& rules) noexcept;

/// A block status request that names contexts.
struct StatusFilter {
  std::uint64_t length_bytes = 0;
  std::vector<std::uint32_t> context_ids;
};
/// Nothing if the payload is malformed, names a context twice, or one that was not `selected`.
std::optional<StatusFilter> parse_status_filter(std::span<const std::byte> payload,
                                                std::span<const MetaContext> selected);

}  // namespace qcowkit::nbd
