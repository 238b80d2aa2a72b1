#include "export/nbd/serve_request.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <new>
#include <system_error>

#include "export/nbd/errors.h"
#include "qcowkit/file_backed.h"

namespace qcowkit::nbd {

namespace {

/// Shorter zeroes between data are sent as data: a chunk of their own would be no gain.
constexpr std::uint64_t kHoleBytesMin = 4096;
/// Where asking for holes takes system calls (formats without clusters), shorter reads do without.
constexpr std::uint64_t kAskForHolesFromBytes = 64 * 1024;
/// Shorter data cost less as copies.
constexpr std::uint64_t kSendFilesFromBytes = 256 * 1024;
/// What a request to cache reads at most.
constexpr std::uint64_t kCacheBytesMax = kPayloadBytesDefault;

/// One request's way. For one thread.
class Service {
 public:
  Service(const Session& session, const Request& request, std::span<const std::byte> payload,
          ReplyWriter& reply)
      : session_(session),
        disk_(*session.disk),
        image_(session.disk->image),
        request_(request),
        payload_(payload),
        reply_(reply) {}

  void run() {
    switch (request_.command) {
      case Command::read:
        return read();
      case Command::write:
        image_.write(guest(request_.offset), payload_);
        return finish_change();
      case Command::flush:
        if (!disk_.read_only) image_.flush();
        return reply_.acknowledge(request_);
      case Command::trim:
        image_.discard(guest(request_.offset), request_.length_bytes);
        return finish_change();
      case Command::write_zeroes:
        return write_zeroes();
      case Command::cache:
        cache();
        return reply_.acknowledge(request_);
      case Command::block_status:
        return block_status();
      case Command::disconnect:
        return;
    }
  }

 private:
  std::uint64_t guest(std::uint64_t offset) const noexcept { return disk_.guest_offset + offset; }
  std::uint64_t end() const noexcept { return request_.offset + request_.length_bytes; }

  void finish_change() {
    if (request_.has(command_flag::kFua)) image_.flush();
    reply_.acknowledge(request_);
  }

  void read() {
    if (request_.length_bytes == 0) return reply_.acknowledge(request_);
    const bool in_one = session_.style == Style::simple || request_.has(command_flag::kDf);
    const bool holes_are_cheap =
        image_.cluster_size() != 0 || request_.length_bytes >= kAskForHolesFromBytes;
    if (in_one || (!holes_are_cheap && request_.length_bytes <= ReplyWriter::kPieceBytes)) {
      read_in_one();
    } else {
      read_with_holes();
    }
  }

  void read_in_one() {
    const auto file = in_file(request_.offset, request_.length_bytes);
    if (file && file->length_bytes == request_.length_bytes) {
      send_file(request_.offset, *file, true);
    } else {
      read_data(request_.offset, request_.length_bytes, true);
    }
  }

  void read_data(std::uint64_t offset, std::uint64_t length_bytes, bool is_last) {
    const std::span<std::byte> into =
        reply_.begin_data(request_, offset, static_cast<std::uint32_t>(length_bytes));
    if (into.empty()) {  // no memory for a read that may not be fragmented
      return reply_.stream_data(request_, [this](std::uint64_t at, std::span<std::byte> piece) {
        image_.read(guest(at), piece);
      });
    }
    image_.read(guest(offset), into);
    reply_.end_data(is_last);
  }

  /// Where bytes from `offset` on lie in a file that had better send them itself. Only in images
  /// that nobody writes to: what a client takes late is to be what it has asked for.
  std::optional<ReplySink::FilePiece> in_file(std::uint64_t offset, std::uint64_t length_bytes) {
    if (length_bytes < kSendFilesFromBytes || !image_.is_read_only() || !reply_.sends_files()) {
      return std::nullopt;
    }
    const Extent extent = image_.map(guest(offset), length_bytes);
    if (extent.kind != ExtentKind::data || !extent.host_offset) return std::nullopt;
    const auto* const backed = dynamic_cast<const FileBacked*>(extent.storage);
    if (backed == nullptr) return std::nullopt;
    const FileBacked::Run run = backed->cached_run(*extent.host_offset, extent.length_bytes);
    if (run.length_bytes < kSendFilesFromBytes) return std::nullopt;
    return ReplySink::FilePiece{.descriptor = run.descriptor,
                                .offset = *extent.host_offset,
                                .length_bytes = run.length_bytes};
  }

  void send_file(std::uint64_t offset, const ReplySink::FilePiece& file, bool is_last) {
    const Image::Pin pin = image_.pin();
    reply_.send_file(
        request_, offset, file, is_last,
        [this](std::uint64_t at, std::span<std::byte> piece) { image_.read(guest(at), piece); });
  }

  /// Holes as holes, data in pieces.
  void read_with_holes() {
    for (std::uint64_t at = request_.offset; at < end();) {
      const std::uint64_t hole = hole_at(at);
      if (hole > 0) {
        reply_.hole(request_, at, static_cast<std::uint32_t>(hole), at + hole == end());
        at += hole;
        continue;
      }
      if (const auto file = in_file(at, end() - at)) {
        send_file(at, *file, at + file->length_bytes == end());
        at += file->length_bytes;
        continue;
      }
      const std::uint64_t data = data_at(at);
      read_data(at, data, at + data == end());
      at += data;
    }
  }

  /// The length of what is known to read as zeroes from `at` on; 0 where that is not worth a chunk.
  std::uint64_t hole_at(std::uint64_t at) {
    const std::uint64_t left = end() - at;
    std::uint64_t length = 0;
    while (length < left) {
      const Extent extent = image_.map(guest(at + length), left - length);
      if (extent.kind == ExtentKind::data || extent.kind == ExtentKind::compressed) {
        known_data_ = {at + length, extent.length_bytes};
        break;
      }
      length += extent.length_bytes;
    }
    return length >= std::min(left, kHoleBytesMin) ? length : 0;
  }

  /// The length of what is best read at once from `at` on, where there is no hole.
  std::uint64_t data_at(std::uint64_t at) {
    const std::uint64_t limit = std::min<std::uint64_t>(end() - at, ReplyWriter::kPieceBytes);
    std::uint64_t length = 0;
    while (length < limit) {
      if (known_data_.offset == at + length) {
        length += known_data_.length_bytes;
      } else if (hole_at(at + length) > 0) {
        break;
      } else if (known_data_.offset > at + length) {
        length = known_data_.offset - at;  // a short hole, read with the data around it
      }
    }
    return std::min(length, limit);
  }

  void write_zeroes() {
    const std::uint64_t offset = guest(request_.offset);
    const bool may_unmap = !request_.has(command_flag::kNoHole);
    if (!request_.has(command_flag::kFastZero)) {
      image_.write_zeroes(offset, request_.length_bytes, may_unmap);
    } else if (!image_.try_write_zeroes(offset, request_.length_bytes, may_unmap)) {
      return reply_.fail(request_, WireError::notsup);
    }
    finish_change();
  }

  /// Reads what may come from afar, to have it near.
  void cache() {
    const std::uint64_t last = request_.offset + std::min(request_.length_bytes, kCacheBytesMax);
    for (std::uint64_t at = request_.offset; at < last;) {
      const std::uint64_t piece = std::min<std::uint64_t>(last - at, ReplyWriter::kPieceBytes);
      const std::span<std::byte> into =
          reply_.begin_data(request_, at, static_cast<std::uint32_t>(piece));
      image_.read(guest(at), into);
      reply_.drop_data();
      at += piece;
    }
  }

  void block_status() {
    std::uint64_t length_bytes = request_.length_bytes;
    std::vector<MetaContext> chosen = session_.contexts;
    if (request_.has(command_flag::kPayloadLen)) {
      const auto filter = parse_status_filter(payload_, session_.contexts);
      if (!filter || filter->length_bytes == 0 ||
          filter->length_bytes > disk_.size_bytes - request_.offset) {
        return reply_.fail(request_, WireError::inval);
      }
      length_bytes = filter->length_bytes;
      const auto& ids = filter->context_ids;
      std::erase_if(chosen, [&](const MetaContext& context) {
        return std::find(ids.begin(), ids.end(), context.id) == ids.end();
      });
    }
    const std::uint32_t extents_max = request_.has(command_flag::kReqOne) ? 1 : kStatusExtentsMax;
    for (const MetaContext& context : chosen) {
      const auto extents =
          nbd::block_status(disk_, context, request_.offset, length_bytes, extents_max);
      reply_.status(request_, context.id, extents, &context == &chosen.back());
    }
  }

  /// A run of data that the last look for a hole ended at.
  struct KnownData {
    std::uint64_t offset = ~std::uint64_t{0};
    std::uint64_t length_bytes = 0;
  };

  const Session& session_;
  const ServedExport& disk_;
  Image& image_;
  const Request& request_;
  const std::span<const std::byte> payload_;
  ReplyWriter& reply_;
  KnownData known_data_;
};

const char* name_of(Command command) noexcept {
  switch (command) {
    case Command::read:
      return "read";
    case Command::write:
      return "write";
    case Command::disconnect:
      return "disconnect";
    case Command::flush:
      return "flush";
    case Command::trim:
      return "trim";
    case Command::cache:
      return "cache";
    case Command::write_zeroes:
      return "write zeroes";
    case Command::block_status:
      return "block status";
  }
  return "request";
}

/// What the protocol says of how it went; the rest of it goes to `report`.
template <typename Action>
WireError attempt(const Request& request, const Report& report, Action action) noexcept {
  const auto failed = [&](WireError error, const char* what) {
    if (report) {
      report(fmt::format("{} of {} bytes at offset {}: {}", name_of(request.command),
                         request.length_bytes, request.offset, what));
    }
    return error;
  };
  try {
    action();
    return WireError::none;
  } catch (const std::system_error& error) {
    return failed(wire_error(error.code()), error.what());
  } catch (const std::bad_alloc& error) {
    return failed(WireError::nomem, error.what());
  } catch (const std::exception& error) {
    return failed(WireError::io, error.what());
  }
}

}  // namespace

void serve_request(const Session& session, const Request& request,
                   std::span<const std::byte> payload, ReplyWriter& reply,
                   const Report& report) noexcept {
  const WireError error =
      attempt(request, report, [&] { Service(session, request, payload, reply).run(); });
  if (error != WireError::none) reply.fail(request, error);
}

WireError write_piece(const Session& session, const Request& request, std::uint64_t at,
                      std::span<const std::byte> bytes, const Report& report) noexcept {
  const ServedExport& disk = *session.disk;
  return attempt(request, report,
                 [&] { disk.image.write(disk.guest_offset + request.offset + at, bytes); });
}

}  // namespace qcowkit::nbd
