#include "export/nbd/handshake.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace qcowkit::nbd {

namespace {

/// Options of one client. Honest ones need a handful.
constexpr std::uint32_t kOptionsMax = 1000;
/// Option data that are skipped for the sake of a polite answer.
constexpr std::uint32_t kSkippedBytesMax = kPayloadBytesDefault;

template <typename Raw>
std::string_view bytes_of(const Raw& raw) noexcept {
  return {reinterpret_cast<const char*>(&raw), sizeof raw};
}

constexpr std::array<std::byte, 1> kSomeData{};

/// Options whose data say something.
bool may_be_long(Option option) noexcept {
  return option == Option::info || option == Option::go || option == Option::list_meta_context ||
         option == Option::set_meta_context;
}

[[noreturn]] void hang_up(const std::string& why) { throw Error(Errc::invalid_argument, why); }

}  // namespace

std::optional<Session> Handshake::run() {
  greet();
  for (std::uint32_t count = 0; count < kOptionsMax; ++count) {
    const Next next = serve_option();
    send_replies();
    if (next == Next::transmission) return std::move(session_);
    if (next == Next::end) return std::nullopt;
  }
  hang_up(fmt::format("more than {} options", kOptionsMax));
}

void Handshake::greet() {
  const ServerGreeting greeting{
      kInitPassword, kOptionMagic,
      std::uint16_t{handshake_flag::kFixedNewstyle | handshake_flag::kNoZeroes}};
  replies_ = bytes_of(greeting);
  send_replies();
  std::array<std::byte, sizeof(be32)> raw;
  receive(raw);
  const auto flags = load_big_endian<std::uint32_t>(raw.data());
  if ((flags & ~client_flag::kKnown) != 0) hang_up(fmt::format("client flags {:#x}", flags));
  fixed_newstyle_ = (flags & client_flag::kFixedNewstyle) != 0;
  no_zeroes_ = (flags & client_flag::kNoZeroes) != 0;
}

Handshake::Next Handshake::serve_option() {
  std::array<std::byte, sizeof(OptionHeader)> raw;
  receive(raw);
  const auto start = parse_option_start(raw);
  if (!start) hang_up("wrong magic of an option");
  if (!fixed_newstyle_ && start->option != Option::export_name) {
    hang_up("an option of a client that knows only one");
  }
  if (start->length_bytes > kOptionBytesMax) return skip_option(*start);
  std::vector<std::byte> data(start->length_bytes);
  receive(data);
  if (refuse_unseen(start->option)) return Next::option;
  return serve_known_option(start->option, data);
}

Handshake::Next Handshake::skip_option(const OptionStart& start) {
  if (start.option == Option::export_name) hang_up("export name is too long");
  skip(start.length_bytes);
  if (refuse_unseen(start.option)) return Next::option;
  // What has no data is answered as with any; so is what is not known.
  if (!may_be_long(start.option)) return serve_known_option(start.option, kSomeData);
  reply(start.option, OptionReply::too_big);
  return Next::option;
}

bool Handshake::refuse_unseen(Option option) {
  if (option == Option::abort) return false;
  if (is_stopping_.load(std::memory_order_relaxed)) {
    if (option == Option::export_name) hang_up("the server is shutting down");
    reply(option, OptionReply::shutdown, "the server is shutting down");
    return true;
  }
  if (!must_encrypt() || option == Option::starttls) return false;
  if (option == Option::export_name) hang_up("the client does not encrypt");
  reply(option, OptionReply::tls_required);
  return true;
}

Handshake::Next Handshake::serve_known_option(Option option, std::span<const std::byte> data) {
  switch (option) {
    case Option::export_name:
      return enter_by_name(data);
    case Option::abort:
      reply(option, OptionReply::ack);
      return Next::end;
    case Option::info:
    case Option::go:
      return inform(option, data);
    case Option::list:
      list(!data.empty());
      break;
    case Option::starttls:
      start_tls(!data.empty());
      break;
    case Option::structured_reply:
    case Option::extended_headers:
      negotiate_style(option, !data.empty());
      break;
    case Option::list_meta_context:
    case Option::set_meta_context:
      meta_contexts(option, data);
      break;
    default:
      reply(option, OptionReply::unsupported);
  }
  return Next::option;
}

Handshake::Next Handshake::enter_by_name(std::span<const std::byte> data) {
  const auto name = parse_string(data);
  const auto disk = name ? find(*name) : nullptr;
  if (!disk) hang_up("there is no export of the name that the client asks for");
  if (session_.style == Style::extended) {
    hang_up("extended headers and an export chosen by its name alone");
  }
  replies_ = bytes_of(ExportNameReply{disk->size_bytes, transmission_flags(*disk)});
  choose(disk);
  if (!no_zeroes_) replies_.append(kExportNameZeroes, '\0');
  return Next::transmission;
}

Handshake::Next Handshake::inform(Option option, std::span<const std::byte> data) {
  const auto request = parse_info_request(data);
  if (!request) {
    reply(option, OptionReply::invalid, "malformed option");
    return Next::option;
  }
  const auto disk = find(request->export_name);
  if (!disk) {
    reply_unknown(option, request->export_name);
    return Next::option;
  }
  reply_info(option, *disk, *request);
  reply(option, OptionReply::ack);
  if (option == Option::info) return Next::option;
  choose(disk);
  return Next::transmission;
}

void Handshake::start_tls(bool has_data) {
  if (has_data) return reply(Option::starttls, OptionReply::invalid, "unexpected data");
  if (tls_ == nullptr) return reply(Option::starttls, OptionReply::policy, "TLS is not offered");
  if (is_encrypted_) return reply(Option::starttls, OptionReply::invalid, "TLS is in use already");
  reply(Option::starttls, OptionReply::ack);
  send_replies();
  transport_ = tls_->accept(transport_);
  is_encrypted_ = true;
  session_ = {};  // nothing that was said in the clear counts
  context_export_.clear();
}

void Handshake::list(bool has_data) {
  if (has_data) return reply(Option::list, OptionReply::invalid, "unexpected data");
  for (const auto& disk : exports_) {
    const be32 length(static_cast<std::uint32_t>(disk->name.size()));
    std::string data(bytes_of(length));
    data += disk->name;
    data += disk->description;
    reply(Option::list, OptionReply::server, data);
  }
  reply(Option::list, OptionReply::ack);
}

void Handshake::negotiate_style(Option option, bool has_data) {
  if (has_data) return reply(option, OptionReply::invalid, "unexpected data");
  const bool extended = option == Option::extended_headers;
  if (session_.style == Style::extended) {
    return reply(option, extended ? OptionReply::invalid : OptionReply::extended_headers_required,
                 "extended headers are in use already");
  }
  session_.style = extended ? Style::extended : Style::structured;
  reply(option, OptionReply::ack);
}

void Handshake::meta_contexts(Option option, std::span<const std::byte> data) {
  const bool sets = option == Option::set_meta_context;
  if (sets) session_.contexts.clear();  // also where the option fails
  if (session_.style == Style::simple) {
    return reply(option, OptionReply::invalid, "structured replies come first");
  }
  const auto request = parse_meta_context_request(data);
  if (!request) return reply(option, OptionReply::invalid, "malformed option");
  const auto disk = find(request->export_name);
  if (!disk) return reply_unknown(option, request->export_name);
  const std::vector<MetaContext> found = sets ? select_contexts(disk->contexts, request->queries)
                                              : list_contexts(disk->contexts, request->queries);
  for (const MetaContext& context : found) {
    const be32 id(sets ? context.id : 0);
    reply(option, OptionReply::meta_context, std::string(bytes_of(id)) + context.name);
  }
  reply(option, OptionReply::ack);
  if (sets) {
    session_.contexts = found;
    context_export_ = disk->name;
  }
}

std::shared_ptr<const ServedExport> Handshake::find(const std::string& name) const noexcept {
  const auto found = std::find_if(exports_.begin(), exports_.end(),
                                  [&](const auto& disk) { return disk->name == name; });
  return found == exports_.end() ? nullptr : *found;
}

std::uint16_t Handshake::transmission_flags(const ServedExport& disk) const noexcept {
  std::uint16_t flags = disk.base_flags();
  if (session_.style != Style::simple) flags |= transmission_flag::kSendDf;
  const bool has_contexts = context_export_ == disk.name && !session_.contexts.empty();
  if (session_.style == Style::extended && has_contexts) {
    flags |= transmission_flag::kBlockStatusPayload;
  }
  return flags;
}

void Handshake::choose(std::shared_ptr<const ServedExport> disk) {
  if (context_export_ != disk->name) session_.contexts.clear();
  session_.disk = std::move(disk);
}

void Handshake::receive(std::span<std::byte> into) {
  while (!into.empty()) {
    const auto count = transport_->receive(into);
    if (!count) continue;  // whoever takes too long is shut down
    if (*count == 0) throw os_error(ECONNRESET, "negotiate");
    into = into.subspan(*count);
  }
}

void Handshake::skip(std::uint32_t length_bytes) {
  if (length_bytes > kSkippedBytesMax) hang_up(fmt::format("an option of {} bytes", length_bytes));
  std::array<std::byte, 4096> ignored;
  while (length_bytes > 0) {
    const auto piece = std::min<std::uint32_t>(length_bytes, ignored.size());
    receive(std::span(ignored).first(piece));
    length_bytes -= piece;
  }
}

void Handshake::reply(Option option, OptionReply type, std::string_view data) {
  const OptionReplyHeader header{kOptionReplyMagic, static_cast<std::uint32_t>(option),
                                 static_cast<std::uint32_t>(type),
                                 static_cast<std::uint32_t>(data.size())};
  replies_ += bytes_of(header);
  replies_ += data;
}

void Handshake::reply_unknown(Option option, std::string_view name) {
  constexpr std::size_t kShownBytesMax = 256;  // the whole string may have 4096
  reply(option, OptionReply::unknown_export,
        fmt::format("export '{}' not present", name.substr(0, kShownBytesMax)));
}

void Handshake::reply_info(Option option, const ServedExport& disk, const InfoRequest& request) {
  const auto text = [&](InfoType type, const std::string& value) {
    const be16 raw(static_cast<std::uint16_t>(type));
    reply(option, OptionReply::info, std::string(bytes_of(raw)) + value);
  };
  const InfoExport about{static_cast<std::uint16_t>(InfoType::disk), disk.size_bytes,
                         transmission_flags(disk)};
  reply(option, OptionReply::info, bytes_of(about));
  if (request.wants_name) text(InfoType::name, disk.name);
  if (request.wants_description && !disk.description.empty()) {
    text(InfoType::description, disk.description);
  }
  if (request.wants_block_size) {
    const InfoBlockSize sizes{static_cast<std::uint16_t>(InfoType::block_size),
                              disk.block_bytes_min, disk.preferred_block_bytes,
                              kPayloadBytesDefault};
    reply(option, OptionReply::info, bytes_of(sizes));
  }
}

void Handshake::send_replies() {
  if (replies_.empty()) return;
  const std::string all = std::exchange(replies_, {});
  const iovec buffer{const_cast<char*>(all.data()), all.size()};
  transport_->send({&buffer, 1});
}

}  // namespace qcowkit::nbd
