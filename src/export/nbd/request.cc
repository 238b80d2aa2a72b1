#include "export/nbd/request.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace qcowkit::nbd {

namespace {

template <typename Raw>
Request common_fields(const Raw& raw) noexcept {
  Request request;
  request.command = static_cast<Command>(std::uint16_t{raw.type});
  request.flags = raw.flags;
  request.cookie = raw.cookie;
  request.offset = raw.offset;
  request.length_bytes = raw.length;
  return request;
}

std::optional<Request> parse_compact(std::span<const std::byte> header) noexcept {
  CompactRequest raw;
  std::memcpy(&raw, header.data(), sizeof raw);
  if (raw.magic != kRequestMagic) return std::nullopt;
  Request request = common_fields(raw);
  if (request.command == Command::write) request.payload_bytes = raw.length;
  return request;
}

std::optional<Request> parse_extended(std::span<const std::byte> header) noexcept {
  ExtendedRequest raw;
  std::memcpy(&raw, header.data(), sizeof raw);
  if (raw.magic != kExtendedRequestMagic) return std::nullopt;
  Request request = common_fields(raw);
  if (request.has(command_flag::kPayloadLen)) {
    if (raw.length > kPayloadBytesDefault) return std::nullopt;
    request.payload_bytes = static_cast<std::uint32_t>(raw.length);
    if (request.command != Command::write) request.length_bytes = 0;
  }
  return request;
}

/// The flags that a command may have; nothing if there is no such command.
std::optional<std::uint16_t> allowed_flags(Command command, Style style) noexcept {
  using namespace command_flag;
  const bool extended = style == Style::extended;
  switch (command) {
    case Command::read:
      return style == Style::simple ? kFua : kFua | kDf;
    case Command::write:
      return extended ? kFua | kPayloadLen : kFua;
    case Command::flush:
    case Command::trim:
    case Command::cache:
      return kFua;
    case Command::write_zeroes:
      return kFua | kNoHole | kFastZero;
    case Command::block_status:
      return extended ? kFua | kReqOne | kPayloadLen : kFua | kReqOne;
    case Command::disconnect:
      break;  // is not answered
  }
  return std::nullopt;
}

bool changes(Command command) noexcept {
  return command == Command::write || command == Command::trim || command == Command::write_zeroes;
}

WireError check_range(const Request& request, const Rules& rules) noexcept {
  if (request.length_bytes <= rules.size_bytes &&
      request.offset <= rules.size_bytes - request.length_bytes) {
    return WireError::none;
  }
  const bool wants_space =
      request.command == Command::write || request.command == Command::write_zeroes;
  return wants_space ? WireError::nospc : WireError::inval;
}

/// Each context once at most, so a longer list need not be received.
WireError check_filter_length(const Request& request, const Rules& rules) noexcept {
  const std::uint64_t longest =
      sizeof(BlockStatusPayload) + std::uint64_t{rules.contexts} * sizeof(be32);
  return request.payload_bytes > 0 && request.payload_bytes <= longest ? WireError::none
                                                                       : WireError::inval;
}

WireError check_length(const Request& request, const Rules& rules) noexcept {
  switch (request.command) {
    case Command::read:
      if (request.length_bytes <= kPayloadBytesDefault) return WireError::none;
      return rules.style == Style::simple ? WireError::inval : WireError::overflow;
    case Command::write:
      return request.length_bytes <= kPayloadBytesDefault ? WireError::none : WireError::inval;
    case Command::block_status:
      return request.has(command_flag::kPayloadLen) ? check_filter_length(request, rules)
             : request.length_bytes == 0            ? WireError::inval
                                                    : WireError::none;
    default:
      return WireError::none;
  }
}

}  // namespace

std::optional<Request> parse_request(std::span<const std::byte> header, Style style) noexcept {
  return style == Style::extended ? parse_extended(header) : parse_compact(header);
}

WireError check_request(const Request& request, const Rules& rules) noexcept {
  const auto allowed = allowed_flags(request.command, rules.style);
  if (!allowed || (request.flags & ~*allowed) != 0) return WireError::inval;
  if (request.command == Command::write && rules.style == Style::extended &&
      !request.has(command_flag::kPayloadLen)) {
    return WireError::inval;
  }
  if (request.command == Command::block_status && rules.contexts == 0) return WireError::inval;
  if (rules.read_only && changes(request.command)) return WireError::perm;
  if (request.command == Command::flush) return WireError::none;  // its range means nothing
  // A client whose request is too large may try smaller ones: not where there is nothing.
  if (const WireError error = check_range(request, rules); error != WireError::none) return error;
  return check_length(request, rules);
}

std::optional<StatusFilter> parse_status_filter(std::span<const std::byte> payload,
                                                std::span<const MetaContext> selected) {
  constexpr std::size_t kIdBytes = sizeof(be32);
  if (payload.size() < sizeof(BlockStatusPayload)) return std::nullopt;
  StatusFilter filter;
  filter.length_bytes = load_big_endian<std::uint64_t>(payload.data());
  payload = payload.subspan(sizeof(BlockStatusPayload));
  if (payload.empty() || payload.size() % kIdBytes != 0) return std::nullopt;
  // Each context once at most, so a longer list need not be looked at.
  if (payload.size() / kIdBytes > selected.size()) return std::nullopt;
  for (; !payload.empty(); payload = payload.subspan(kIdBytes)) {
    const auto id = load_big_endian<std::uint32_t>(payload.data());
    const bool is_selected = std::any_of(selected.begin(), selected.end(),
                                         [&](const MetaContext& c) { return c.id == id; });
    const auto& ids = filter.context_ids;
    if (!is_selected || std::find(ids.begin(), ids.end(), id) != ids.end()) return std::nullopt;
    filter.context_ids.push_back(id);
  }
  return filter;
}

}  // namespace qcowkit::nbd
