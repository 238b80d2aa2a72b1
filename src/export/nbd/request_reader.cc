#include "export/nbd/request_reader.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace qcowkit::nbd {

namespace {

/// Payloads from here on that have not arrived whole are received where they will stay.
constexpr std::size_t kApartFromBytes = 32 * 1024;
/// Memory of large payloads is kept for the next ones up to this size, and so many of them. Beside
/// them, any request has room in the budget.
constexpr std::size_t kKeptBytesMax = 4 << 20;
constexpr std::size_t kKeptMax = 4;
static_assert(kKeptMax * kKeptBytesMax + kPayloadBytesDefault <= MemoryBudget::kBytes);
/// What may have to lie in the buffer in one piece.
constexpr std::size_t kPieceBytes = kApartFromBytes + sizeof(ExtendedRequest);
static_assert(kPieceBytes < RequestReader::kBufferBytesMax / 2);
/// After a payload that was received apart: what of the next one arrives with its header has to be
/// copied, so it is to be little. Enough for many requests without payload.
constexpr std::size_t kTasteBytes = 4096;

/// A client that has its reply and sends its next request at once takes less than this; being woken
/// by it would take longer.
constexpr std::chrono::microseconds kLookOut{20};
/// Looking out in vain is tried again after so many times of just waiting.
constexpr std::uint32_t kLooksSkippedMax = 63;

[[noreturn]] void hang_up(const char* why) { throw Error(Errc::invalid_argument, why); }

bool is_unused(const std::shared_ptr<ReceivedBytes>& kept) noexcept {
  return kept->users.load(std::memory_order_acquire) == 0;
}

}  // namespace

void RequestReader::read(std::vector<Incoming>& into, Buffer& spare, bool is_alone) {
  try {
    while (true) {
      take_arrived(into);
      is_at_end_ = is_at_end_ || (into.empty() && is_drained_);
      if (!into.empty() || is_at_end_) return;
      if (is_alone) look_out();
      receive(spare);
      finish_apart(into);
    }
  } catch (...) {
    is_at_end_ = true;
    throw;
  }
}

void RequestReader::take_arrived(std::vector<Incoming>& into) {
  while (!unfinished_ && !is_at_end_ && into.size() < kRequestsMax && take_one(into)) {
  }
}

bool RequestReader::take_one(std::vector<Incoming>& into) {
  const std::size_t header_bytes = request_header_bytes(rules_.style);
  if (arrived() < header_bytes) return false;
  const auto request =
      parse_request(buffer_->memory.span().subspan(begin_, header_bytes), rules_.style);
  if (!request) {
    if (!into.empty()) return false;  // those come first, then this again
    hang_up("what the client sent is no request");
  }
  if (request->command == Command::disconnect) {
    is_at_end_ = true;
    return false;
  }
  Incoming incoming{
      .request = *request, .refusal = check_request(*request, rules_), .payload = {}, .hold = {}};
  was_apart_ = false;
  if (request->payload_bytes > 0) return take_payload(std::move(incoming), into);
  begin_ += header_bytes;
  into.push_back(std::move(incoming));
  return true;
}

bool RequestReader::take_payload(Incoming&& incoming, std::vector<Incoming>& into) {
  const std::size_t header_bytes = request_header_bytes(rules_.style);
  const std::size_t payload_bytes = incoming.request.payload_bytes;
  const bool is_refused = incoming.refusal != WireError::none;
  if (arrived() - header_bytes >= payload_bytes) {
    if (!is_refused) {
      incoming.payload = buffer_->memory.span().subspan(begin_ + header_bytes, payload_bytes);
      incoming.hold = PayloadHold(buffer_);
    }
    begin_ += header_bytes + payload_bytes;
    into.push_back(std::move(incoming));
    return true;
  }
  if (!is_refused && payload_bytes < kApartFromBytes) return false;  // it will arrive in the buffer
  // Memory for it may have to be waited for, which those before it must not.
  if (into.empty()) begin_apart(std::move(incoming));
  return false;
}

void RequestReader::begin_apart(Incoming&& incoming) {
  begin_ += request_header_bytes(rules_.style);
  const std::size_t here = arrived();
  const std::size_t payload_bytes = incoming.request.payload_bytes;
  Unfinished unfinished{
      .incoming = std::move(incoming), .bytes = nullptr, .missing_bytes = payload_bytes};
  if (unfinished.incoming.refusal == WireError::none) {
    unfinished.bytes = memory_apart(payload_bytes);
  }
  unfinished_ = std::move(unfinished);
  was_apart_ = true;
  const std::span<const std::byte> arrived_bytes = buffer_->memory.span().subspan(begin_, here);
  begin_ = end_;
  if (!unfinished_->bytes) {
    wanted_bytes_ = kBufferBytesMax;
    return take_piece(arrived_bytes);
  }
  const std::span<std::byte> payload = unfinished_->bytes->memory.span().first(payload_bytes);
  std::copy(arrived_bytes.begin(), arrived_bytes.end(), payload.begin());
  unfinished_->missing_bytes -= here;
  unfinished_->incoming.payload = payload;
}

void RequestReader::take_piece(std::span<const std::byte> bytes) {
  Incoming& incoming = unfinished_->incoming;
  const Request& request = incoming.request;
  const std::uint64_t at = request.payload_bytes - unfinished_->missing_bytes;
  unfinished_->missing_bytes -= bytes.size();
  if (incoming.refusal != WireError::none || bytes.empty()) return;
  // Nothing else that has a payload can be done without having all of it.
  incoming.refusal =
      request.command == Command::write ? write_piece_(request, at, bytes) : WireError::nomem;
}

std::shared_ptr<ReceivedBytes> RequestReader::memory_apart(std::size_t bytes) {
  const auto fits = std::find_if(apart_.begin(), apart_.end(), [&](const auto& kept) {
    return is_unused(kept) && kept->memory.size() >= bytes;
  });
  if (fits != apart_.end()) return *fits;
  std::erase_if(apart_, is_unused);  // too small for what comes now
  auto fresh = std::make_shared<ReceivedBytes>(0);
  if (!fresh->share.take(budget_, bytes)) return nullptr;
  fresh->memory = Buffer(bytes);
  if (bytes <= kKeptBytesMax && apart_.size() < kKeptMax) apart_.push_back(fresh);
  return fresh;
}

void RequestReader::finish_apart(std::vector<Incoming>& into) {
  if (!unfinished_ || unfinished_->missing_bytes > 0) return;
  if (unfinished_->bytes) unfinished_->incoming.hold = PayloadHold(std::move(unfinished_->bytes));
  into.push_back(std::move(unfinished_->incoming));
  unfinished_.reset();
}

void RequestReader::look_out() noexcept {
  using Clock = std::chrono::steady_clock;
  if (looks_to_skip_ > 0) {
    --looks_to_skip_;
    return;
  }
  const Clock::time_point end = Clock::now() + kLookOut;
  do {
    if (transport_.has_bytes()) {
      looks_skipped_ = 0;
      return;
    }
  } while (Clock::now() < end);
  looks_skipped_ = std::min(2 * looks_skipped_ + 1, kLooksSkippedMax);
  looks_to_skip_ = looks_skipped_;
}

void RequestReader::receive(Buffer& spare) {
  const std::span<std::byte> into = room();
  const auto count = transport_.receive(into);
  if (!count) return rest(spare);
  if (*count == 0) {
    is_at_end_ = true;
    const bool is_amid = unfinished_ || arrived() > 0;
    if (is_amid && !draining_) hang_up("the connection ended amid a request");
    return;
  }
  if (unfinished_) {  // bytes that do not stay leave the buffer as empty as it was
    if (!unfinished_->bytes) return take_piece(into.first(*count));
    unfinished_->missing_bytes -= *count;
    return;
  }
  end_ += *count;
  if (*count == into.size()) {
    wanted_bytes_ = kBufferBytesMax;
  } else if (draining_.load(std::memory_order_relaxed)) {
    is_drained_ = true;
  }
}

std::span<std::byte> RequestReader::room() {
  if (unfinished_ && unfinished_->bytes) {
    const std::size_t payload_bytes = unfinished_->incoming.request.payload_bytes;
    return unfinished_->bytes->memory.span().first(payload_bytes).last(unfinished_->missing_bytes);
  }
  make_room();
  const std::span<std::byte> free = buffer_->memory.span().subspan(end_);
  if (unfinished_) return free.first(std::min(free.size(), unfinished_->missing_bytes));
  return was_apart_ ? free.first(std::min(free.size(), kTasteBytes)) : free;
}

void RequestReader::make_room() {
  const std::size_t left = arrived();
  const std::size_t size = buffer_ ? buffer_->memory.size() : 0;
  const bool is_shared = buffer_ && buffer_->users.load(std::memory_order_acquire) > 0;
  const bool has_room = size - begin_ >= 2 * kPieceBytes;
  if (has_room && (is_shared || (left > 0 && size >= wanted_bytes_))) return;
  const std::byte* const from = buffer_ ? buffer_->memory.data() + begin_ : nullptr;
  if (is_shared || size < wanted_bytes_) {
    auto fresh = std::make_shared<ReceivedBytes>(wanted_bytes_);
    if (left > 0) std::memcpy(fresh->memory.data(), from, left);
    buffer_ = std::move(fresh);
  } else if (begin_ > 0) {
    std::memmove(buffer_->memory.data(), from, left);
  }
  begin_ = 0;
  end_ = left;
}

void RequestReader::rest(Buffer& spare) {
  if (draining_.load(std::memory_order_relaxed)) is_at_end_ = true;
  spare = {};
  std::erase_if(apart_, is_unused);
  if (unfinished_ || arrived() > 0 || is_at_end_) return;
  buffer_.reset();
  begin_ = end_ = 0;
  wanted_bytes_ = kBufferBytesMin;
  transport_.wait();
}

}  // namespace qcowkit::nbd
