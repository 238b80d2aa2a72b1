// Fuzz target: requests of an NBD client, served with a disk, and the replies looked at: each
// request has one, of chunks that are as the protocol wants them, with the bytes that the disk has.
//
// The first byte of an input says which style of replies was negotiated and what the disk is; the
// client's bytes follow.
#include <fmt/core.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "export/nbd/request_reader.h"
#include "export/nbd/serve_request.h"
#include "fuzz/nbd_script.h"

namespace qcowkit::fuzz {

namespace {

using nbd::Command;
using nbd::ReplyType;
using nbd::Request;
using nbd::Style;
using nbd::WireError;

constexpr std::uint64_t kDiskBytes = (1 << 20) + 512;
constexpr std::uint64_t kExportOffset = 4096;

[[noreturn]] void fail(const char* what) {
  fmt::print(stderr, "a reply is wrong: {}\n", what);
  std::abort();
}
void require(bool is_so, const char* what) {
  if (!is_so) fail(what);
}

/// What the first byte says.
struct Setup {
  explicit Setup(std::uint8_t byte)
      : style(static_cast<Style>(byte % 3)),
        is_qcow2((byte & 0x10) != 0),
        is_read_only((byte & 0x20) != 0),
        has_memory((byte & 0x40) != 0) {}

  Style style;
  bool is_qcow2;
  bool is_read_only;
  bool has_memory;  ///< for large requests
};

std::unique_ptr<Image> make_disk(const Setup& setup) {
  auto storage = make_memory_storage();
  CreateOptions options;
  options.format = setup.is_qcow2 ? "qcow2" : "raw";
  options.size_bytes = kDiskBytes;
  if (setup.is_qcow2) options.cluster_size_bytes = 4096;
  Image::create(*storage, options);
  OpenOptions open;
  open.format = options.format;
  open.read_only = false;
  auto image = Image::open(std::move(storage), open);
  image->write(kExportOffset + 10'000, std::vector<std::byte>(30'000, std::byte{0x5a}));
  image->write(kExportOffset + 700'000, std::vector<std::byte>(9'000, std::byte{0xa5}));
  return image;
}

/// Reads one reply after the other from what a server sends.
class Replies final : public nbd::ReplySink {
 public:
  Replies(const nbd::Session& session, Image& image) : session_(session), image_(image) {}

  void send(std::span<const iovec> from) noexcept override {
    for (const iovec& part : from) {
      const auto* const begin = static_cast<const std::byte*>(part.iov_base);
      bytes_.insert(bytes_.end(), begin, begin + part.iov_len);
    }
  }
  void send_pieces(const NextPiece& next) noexcept override {
    while (const auto piece = next()) {
      if (piece->bytes.empty()) return;
      send(piece->bytes);
    }
    fail("reading from memory cannot fail");
  }

  /// What has been sent is one whole reply to `request`.
  void expect_reply(const Request& request, WireError refusal) {
    rest_ = bytes_;
    request_ = &request;
    covered_ = 0;
    contexts_ = 0;
    const WireError error = session_.style == Style::simple ? take_simple() : take_chunks();
    if (refusal != WireError::none) require(error == refusal, "another error than there is");
    if (error == WireError::none) expect_whole();
    require(rest_.empty(), "more than one");
    bytes_.clear();
  }

 private:
  template <typename Raw>
  Raw take() {
    require(rest_.size() >= sizeof(Raw), "its end is missing");
    Raw raw;
    std::memcpy(&raw, rest_.data(), sizeof raw);
    rest_ = rest_.subspan(sizeof raw);
    return raw;
  }

  WireError take_simple() {
    const auto reply = take<nbd::SimpleReply>();
    require(reply.magic == nbd::kSimpleReplyMagic && reply.cookie == request_->cookie, "header");
    const auto error = static_cast<WireError>(std::uint32_t{reply.error});
    if (error == WireError::none && request_->command == Command::read) {
      take_data(request_->offset, request_->length_bytes);
    }
    return error;
  }

  /// All chunks of the reply; the error in one of them, if there is one.
  WireError take_chunks() {
    WireError error = WireError::none;
    bool is_last = false;
    while (!is_last) {
      const Chunk chunk = take_chunk();
      is_last = (chunk.flags & nbd::kReplyFlagDone) != 0;
      const std::size_t after = rest_.size() - chunk.payload_bytes;
      if (chunk.type == ReplyType::error) {
        error = take_error();
      } else {
        take_payload(chunk);
      }
      require(rest_.size() == after, "a chunk's length");
    }
    return error;
  }

  struct Chunk {
    std::uint16_t flags;
    ReplyType type;
    std::uint64_t payload_bytes;
  };
  Chunk take_chunk() {
    Chunk chunk{};
    std::uint64_t cookie = 0;
    if (session_.style == Style::extended) {
      const auto raw = take<nbd::ExtendedReply>();
      require(raw.magic == nbd::kExtendedReplyMagic, "magic");
      require(raw.offset == request_->offset, "another offset than the request's");
      chunk = {raw.flags, static_cast<ReplyType>(std::uint16_t{raw.type}), raw.length};
      cookie = raw.cookie;
    } else {
      const auto raw = take<nbd::StructuredReply>();
      require(raw.magic == nbd::kStructuredReplyMagic, "magic");
      chunk = {raw.flags, static_cast<ReplyType>(std::uint16_t{raw.type}), raw.length};
      cookie = raw.cookie;
    }
    require(cookie == request_->cookie, "cookie");
    require(chunk.payload_bytes <= rest_.size(), "a chunk's end is missing");
    return chunk;
  }

  void take_payload(const Chunk& chunk) {
    const bool is_read = request_->command == Command::read;
    const bool asks_status = request_->command == Command::block_status;
    switch (chunk.type) {
      case ReplyType::none:
        return require((chunk.flags & nbd::kReplyFlagDone) != 0, "nothing, and then something");
      case ReplyType::offset_data: {
        require(is_read, "data that nobody asked for");
        const std::uint64_t offset = take<nbd::OffsetData>().offset;
        return take_data(offset, chunk.payload_bytes - sizeof(nbd::OffsetData));
      }
      case ReplyType::offset_hole: {
        require(is_read, "a hole that nobody asked for");
        require(!request_->has(nbd::command_flag::kDf), "a hole amid what is not to be fragmented");
        const auto hole = take<nbd::OffsetHole>();
        return expect_content(hole.offset, std::vector<std::byte>(hole.length));
      }
      case ReplyType::block_status:
        require(asks_status && session_.style == Style::structured, "status of another style");
        take<nbd::BlockStatus>();
        return take_status<nbd::Descriptor>(chunk.payload_bytes - sizeof(nbd::BlockStatus));
      case ReplyType::block_status_extended: {
        require(asks_status && session_.style == Style::extended, "status of another style");
        const auto status = take<nbd::BlockStatusExtended>();
        const std::uint64_t bytes = chunk.payload_bytes - sizeof status;
        require(status.descriptor_count * sizeof(nbd::ExtendedDescriptor) == bytes, "a count");
        return take_status<nbd::ExtendedDescriptor>(bytes);
      }
      default:
        fail("unknown type of chunk");
    }
  }

  WireError take_error() {
    const auto chunk = take<nbd::ErrorChunk>();
    require(chunk.message_length <= rest_.size(), "an error's message");
    rest_ = rest_.subspan(chunk.message_length);
    require(chunk.error != 0, "an error that is none");
    return static_cast<WireError>(std::uint32_t{chunk.error});
  }

  void take_data(std::uint64_t offset, std::uint64_t length) {
    require(length > 0 || request_->length_bytes == 0, "no data");
    require(length <= rest_.size(), "data end early");
    expect_content(offset, {rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(length)});
    rest_ = rest_.subspan(length);
  }

  /// The chunks of one read come in order here, so that none overlap.
  void expect_content(std::uint64_t offset, const std::vector<std::byte>& content) {
    require(offset == request_->offset + covered_, "a gap, or an overlap");
    require(content.size() <= request_->length_bytes - covered_, "more than was asked for");
    std::vector<std::byte> expected(content.size());
    image_.read(session_.disk->guest_offset + offset, expected);
    require(content == expected, "other bytes than the disk's");
    covered_ += content.size();
  }

  template <typename Raw>
  void take_status(std::uint64_t bytes) {
    require(bytes > 0 && bytes % sizeof(Raw) == 0, "a status of parts of extents");
    const std::uint64_t count = bytes / sizeof(Raw);
    if (request_->has(nbd::command_flag::kReqOne)) require(count == 1, "one extent was asked for");
    std::uint64_t length = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t extent = take<Raw>().length;
      require(extent > 0, "an empty extent");
      length += extent;
    }
    require(length <= session_.disk->size_bytes - request_->offset, "a status beyond the end");
    ++contexts_;
  }

  void expect_whole() {
    if (request_->command == Command::read) {
      require(covered_ == request_->length_bytes, "less than was asked for");
    } else if (request_->command == Command::block_status) {
      require(contexts_ > 0, "no status");
    }
  }

  const nbd::Session& session_;
  Image& image_;
  std::vector<std::byte> bytes_;
  std::span<const std::byte> rest_;
  const Request* request_ = nullptr;
  std::uint64_t covered_ = 0;
  std::uint32_t contexts_ = 0;
};

nbd::Session session_with(Image& image, const Setup& setup) {
  NbdExport disk;
  disk.image = &image;
  disk.read_only = setup.is_read_only;
  disk.guest_offset = kExportOffset;
  disk.allocation_depth = true;
  nbd::Session session;
  session.disk = std::make_shared<const nbd::ServedExport>(disk);
  session.style = setup.style;
  if (setup.style != Style::simple) session.contexts = session.disk->contexts;
  return session;
}

void serve(std::uint8_t first, std::span<const std::byte> bytes) {
  const Setup setup(first);
  const std::unique_ptr<Image> image = make_disk(setup);
  const nbd::Session session = session_with(*image, setup);
  const std::atomic<bool> draining = false;
  nbd::MemoryPool pool(setup.has_memory ? nbd::MemoryPool::kBytesDefault : 1);
  nbd::MemoryBudget budget(pool);
  Script script(bytes);
  nbd::RequestReader reader(
      script, session.rules(), budget, draining,
      [&](const Request& request, std::uint64_t at, std::span<const std::byte> payload) {
        return nbd::write_piece(session, request, at, payload, {});
      });
  Replies replies(session, *image);
  Buffer memory;
  nbd::ReplyWriter writer(setup.style, replies, memory, budget);
  Buffer spare;
  while (!reader.is_at_end()) {
    std::vector<nbd::Incoming> requests;
    reader.read(requests, spare);
    for (const nbd::Incoming& incoming : requests) {
      if (incoming.refusal != WireError::none) {
        writer.fail(incoming.request, incoming.refusal);
      } else {
        nbd::serve_request(session, incoming.request, incoming.payload, writer, {});
      }
      writer.flush();
      replies.expect_reply(incoming.request, incoming.refusal);
    }
  }
}

}  // namespace

std::vector<Input> seed_inputs() {
  const std::string payload(600, 'x');
  const std::string large(40'000, 'y');
  std::vector<Input> seeds;
  for (const std::uint64_t disk : {0x00u, 0x10u, 0x20u, 0x50u}) {
    for (const std::uint64_t style : {0u, 1u}) {
      seeds.push_back(Writer()
                          .number(disk + style, 1)
                          .request(0, 0, 65536)
                          .request(1, 512, 600)
                          .text(payload)
                          .request(0, 0, 1 << 20)
                          .request(0x40000, 9000, 400'000)
                          .request(1, 100'000, 40'000)
                          .text(large)
                          .request(7, 0, 1 << 20)
                          .request(0x80007, 9000, 50'000)
                          .request(6, 0, 5000)
                          .request(0x20006, 100'000, 4096)
                          .request(0x100006, 0, 300'000)
                          .request(4, 4096, 400'000)
                          .request(5, 0, 100'000)
                          .request(3, 0, 0)
                          .request(0, 0, 1 << 20)
                          .request(2, 0, 0)
                          .input());
    }
    seeds.push_back(Writer()
                        .number(disk + 2, 1)
                        .extended_request(0, 0, 4096)
                        .extended_request(0x200001, 0, 600)
                        .text(payload)
                        .extended_request(0x200001, 700'000, 40'000)
                        .text(large)
                        .extended_request(7, 0, 1 << 20)
                        .extended_request(0x200007, 0, 12)
                        .number(4096, 8)
                        .number(0, 4)
                        .extended_request(6, 4096, 900'000)
                        .extended_request(0x40000, 0, 1 << 20)
                        .extended_request(0, 0, 1 << 20)
                        .input());
  }
  return seeds;
}

}  // namespace qcowkit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    qcowkit::fuzz::serve(data[0], std::as_bytes(std::span(data + 1, size - 1)));
  } catch (const qcowkit::Error&) {
    // The end of a client that sends what are no requests.
  }
  return 0;
}
