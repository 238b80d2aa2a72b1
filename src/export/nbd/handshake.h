// Negotiating with a client: from its first byte to its choice of an export.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "export/nbd/meta_context.h"
#include "export/nbd/negotiation.h"
#include "export/nbd/request.h"
#include "export/nbd/served_export.h"
#include "qcowkit/nbd.h"

namespace qcowkit::nbd {

using Exports = std::vector<std::shared_ptr<const ServedExport>>;

/// What a client and the server have agreed on.
struct Session {
  std::shared_ptr<const ServedExport> disk;
  Style style = Style::simple;
  std::vector<MetaContext> contexts;

  Rules rules() const noexcept {
    return {style, disk->size_bytes, disk->read_only, static_cast<std::uint32_t>(contexts.size())};
  }
};

/// One client's negotiation. For one thread.
class Handshake {
 public:
  /// `transport` is replaced where the client goes over to TLS. `tls`: null if there is none.
  /// Once `is_stopping`, no option leads anywhere any more.
  Handshake(std::shared_ptr<NbdTransport>& transport, const Exports& exports, NbdTls* tls,
            const std::atomic<bool>& is_stopping)
      : transport_(transport), exports_(exports), tls_(tls), is_stopping_(is_stopping) {}

  /// The session; nothing if the client left in order. Throws `Error` if the connection broke, or
  /// the client did what ends it (invalid_argument).
  std::optional<Session> run();

 private:
  enum class Next { option, transmission, end };

  void greet();
  Next serve_option();
  /// The data of an option that is longer than any that means something.
  Next skip_option(const OptionStart& start);
  /// True if the option is answered, whatever its data are.
  bool refuse_unseen(Option option);
  Next serve_known_option(Option option, std::span<const std::byte> data);
  Next enter_by_name(std::span<const std::byte> data);
  Next inform(Option option, std::span<const std::byte> data);
  void start_tls(bool has_data);
  void list(bool has_data);
  void negotiate_style(Option option, bool has_data);
  void meta_contexts(Option option, std::span<const std::byte> data);

  std::shared_ptr<const ServedExport> find(const std::string& name) const noexcept;
  std::uint16_t transmission_flags(const ServedExport& disk) const noexcept;
  /// Takes those contexts along that were selected for this export.
  void choose(std::shared_ptr<const ServedExport> disk);

  void receive(std::span<std::byte> into);
  void skip(std::uint32_t length_bytes);
  bool must_encrypt() const noexcept { return tls_ != nullptr && !is_encrypted_; }
  /// Replies are collected until `send_replies`.
  void reply(Option option, OptionReply type, std::string_view data = {});
  void reply_unknown(Option option, std::string_view name);
  void reply_info(Option option, const ServedExport& disk, const InfoRequest& request);
  void send_replies();

  std::shared_ptr<NbdTransport>& transport_;
  const Exports& exports_;
  NbdTls* const tls_;
  const std::atomic<bool>& is_stopping_;

  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool is_encrypted_ = false;
  std::string context_export_;  ///< the export that `session_.contexts` were selected for
  Session session_;
  std::string replies_;
};

}  // namespace qcowkit::nbd
