#include "export/nbd/reply_writer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <exception>
#include <string_view>
#include <utility>

#include "export/nbd/errors.h"

namespace qcowkit::nbd {

namespace {

/// Room for headers beside a piece of data.
constexpr std::size_t kBufferBytes = ReplyWriter::kPieceBytes + 2 * Buffer::kAlignment;
/// Replies are sent together up to here; later ones wait no longer than that takes.
constexpr std::size_t kSendFromBytes = 64 * 1024;

constexpr std::size_t chunk_header_bytes(Style style) noexcept {
  return style == Style::extended ? sizeof(ExtendedReply) : sizeof(StructuredReply);
}

}  // namespace

ReplyWriter::ReplyWriter(Style style, ReplySink& sink, Buffer& memory, MemoryBudget& budget)
    : style_(style),
      sink_(sink),
      memory_(memory),
      budget_(budget),
      origin_(Buffer::kAlignment - data_header_bytes()) {}

template <typename Raw>
void ReplyWriter::append(const Raw& raw) noexcept {
  std::memcpy(memory_.data() + origin_ + used_bytes_, &raw, sizeof raw);
  used_bytes_ += sizeof raw;
}

void ReplyWriter::append_chunk(const Request& request, ReplyType type, std::uint64_t payload_bytes,
                               bool is_last) noexcept {
  const std::uint16_t flags = is_last ? kReplyFlagDone : 0;
  const auto raw_type = static_cast<std::uint16_t>(type);
  if (style_ == Style::extended) {
    append(ExtendedReply{kExtendedReplyMagic, flags, raw_type, request.cookie, request.offset,
                         payload_bytes});
  } else {
    append(StructuredReply{kStructuredReplyMagic, flags, raw_type, request.cookie,
                           static_cast<std::uint32_t>(payload_bytes)});
  }
}

void ReplyWriter::make_room(std::size_t bytes) {
  assert(!open_);
  if (used_bytes_ >= kSendFromBytes || memory_.size() < origin_ + used_bytes_ + bytes) flush();
  if (memory_.size() < origin_ + bytes) memory_ = Buffer(std::max(origin_ + bytes, kBufferBytes));
}

void ReplyWriter::acknowledge(const Request& request) {
  make_room(sizeof(ExtendedReply));
  if (style_ == Style::simple) {
    append(SimpleReply{kSimpleReplyMagic, 0u, request.cookie});
  } else {
    append_chunk(request, ReplyType::none, 0, true);
  }
}

void ReplyWriter::fail(const Request& request, WireError error) {
  drop_data();
  const auto raw_error = static_cast<std::uint32_t>(error);
  const std::string_view message = describe(error);
  make_room(sizeof(ExtendedReply) + sizeof(ErrorChunk) + message.size());
  if (style_ == Style::simple) {
    append(SimpleReply{kSimpleReplyMagic, raw_error, request.cookie});
    return;
  }
  append_chunk(request, ReplyType::error, sizeof(ErrorChunk) + message.size(), true);
  append(ErrorChunk{raw_error, static_cast<std::uint16_t>(message.size())});
  std::memcpy(memory_.data() + origin_ + used_bytes_, message.data(), message.size());
  used_bytes_ += message.size();
}

std::size_t ReplyWriter::data_header_bytes() const noexcept {
  return style_ == Style::simple ? sizeof(SimpleReply)
                                 : chunk_header_bytes(style_) + sizeof(OffsetData);
}

std::span<std::byte> ReplyWriter::begin_data(const Request& request, std::uint64_t offset,
                                             std::uint32_t length_bytes) {
  const bool is_large = length_bytes > kPieceBytes;
  if (is_large) {
    if (!large_share_.take(budget_, length_bytes)) return {};
    large_ = Buffer(length_bytes);
  }
  make_room(data_header_bytes() + (is_large ? 0 : length_bytes));
  open_ = {&request, offset, length_bytes};
  if (is_large) return large_.span();
  return memory_.span().subspan(origin_ + used_bytes_ + data_header_bytes(), length_bytes);
}

void ReplyWriter::end_data(bool is_last) {
  const OpenData data = *open_;
  open_.reset();
  append_data_header(data, is_last);
  if (!large_share_.is_taken()) {
    used_bytes_ += data.length_bytes;
    return;
  }
  const std::array<iovec, 2> parts{
      {{memory_.data() + origin_, used_bytes_}, {large_.data(), large_.size()}}};
  sink_.send(parts);
  used_bytes_ = 0;
  large_ = {};
  large_share_.give_back();
}

void ReplyWriter::append_data_header(const OpenData& data, bool is_last) noexcept {
  if (style_ == Style::simple) {
    append(SimpleReply{kSimpleReplyMagic, 0u, data.request->cookie});
  } else {
    append_chunk(*data.request, ReplyType::offset_data,
                 std::uint64_t{data.length_bytes} + sizeof(OffsetData), is_last);
    append(OffsetData{data.offset});
  }
}

void ReplyWriter::drop_data() noexcept {
  open_.reset();
  large_ = {};
  large_share_.give_back();
}

void ReplyWriter::stream_data(const Request& request, const ReadPiece& read) {
  const auto length_bytes = static_cast<std::uint32_t>(request.length_bytes);
  make_room(data_header_bytes() + kPieceBytes);
  // The chunk is not the last one: whether reading fails is not known when its header is sent.
  append_data_header({&request, request.offset, length_bytes}, false);
  std::uint32_t done = 0;
  std::exception_ptr failure;
  iovec piece{};
  sink_.send_pieces([&]() -> std::optional<ReplySink::Piece> {
    if (done == length_bytes) return ReplySink::Piece{};
    const std::uint32_t count = std::min(length_bytes - done, kPieceBytes);
    const auto into = memory_.span().subspan(origin_ + used_bytes_, count);
    try {
      if (!failure) read(request.offset + done, into);
    } catch (...) {
      failure = std::current_exception();
      if (style_ == Style::simple) return std::nullopt;
    }
    if (failure) std::fill(into.begin(), into.end(), std::byte{0});
    done += count;
    piece = {memory_.data() + origin_, std::exchange(used_bytes_, 0) + count};
    return ReplySink::Piece{.bytes = {&piece, 1}};
  });
  used_bytes_ = 0;
  if (failure) std::rethrow_exception(failure);
  if (style_ != Style::simple) acknowledge(request);
}

void ReplyWriter::send_file(const Request& request, std::uint64_t offset, ReplySink::FilePiece file,
                            bool is_last, const ReadPiece& read) {
  make_room(data_header_bytes() + kPieceBytes);
  append_data_header({&request, offset, static_cast<std::uint32_t>(file.length_bytes)}, is_last);
  std::exception_ptr failure;
  std::uint64_t read_bytes = 0;
  iovec piece{memory_.data() + origin_, used_bytes_};
  bool is_begun = false;
  sink_.send_pieces([&]() -> std::optional<ReplySink::Piece> {
    if (!std::exchange(is_begun, true)) return ReplySink::Piece{{&piece, 1}, &file};
    const std::uint64_t done = file.sent_bytes + read_bytes;
    if (done == file.length_bytes) return ReplySink::Piece{};
    const std::uint64_t count = std::min<std::uint64_t>(file.length_bytes - done, kPieceBytes);
    const auto into = memory_.span().subspan(origin_, count);
    try {
      read(offset + done, into);
    } catch (...) {
      failure = std::current_exception();
      return std::nullopt;
    }
    read_bytes += count;
    piece = {into.data(), into.size()};
    return ReplySink::Piece{.bytes = {&piece, 1}};
  });
  used_bytes_ = 0;
  if (failure) std::rethrow_exception(failure);
}

void ReplyWriter::hole(const Request& request, std::uint64_t offset, std::uint32_t length_bytes,
                       bool is_last) {
  make_room(sizeof(ExtendedReply) + sizeof(OffsetHole));
  append_chunk(request, ReplyType::offset_hole, sizeof(OffsetHole), is_last);
  append(OffsetHole{offset, length_bytes});
}

void ReplyWriter::status(const Request& request, std::uint32_t context_id,
                         std::span<const StatusExtent> extents, bool is_last) {
  const bool extended = style_ == Style::extended;
  const std::size_t payload_bytes =
      extended ? sizeof(BlockStatusExtended) + extents.size() * sizeof(ExtendedDescriptor)
               : sizeof(BlockStatus) + extents.size() * sizeof(Descriptor);
  make_room(sizeof(ExtendedReply) + payload_bytes);
  append_chunk(request, extended ? ReplyType::block_status_extended : ReplyType::block_status,
               payload_bytes, is_last);
  if (extended) {
    append(BlockStatusExtended{context_id, static_cast<std::uint32_t>(extents.size())});
  } else {
    append(BlockStatus{context_id});
  }
  for (const StatusExtent& extent : extents) {
    if (extended) {
      append(ExtendedDescriptor{extent.length_bytes, extent.flags});
    } else {
      append(Descriptor{static_cast<std::uint32_t>(extent.length_bytes), extent.flags});
    }
  }
}

void ReplyWriter::flush() noexcept {
  if (used_bytes_ == 0) return;
  const iovec all{memory_.data() + origin_, used_bytes_};
  sink_.send({&all, 1});
  used_bytes_ = 0;
}

}  // namespace qcowkit::nbd
