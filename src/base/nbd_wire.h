// The bytes of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md, and its extension
// EXTENDED_HEADERS). All integers are big-endian. No I/O, no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/endian.h"

namespace qcowkit::nbd {

// Handshake: "Newstyle negotiation" and "Fixed newstyle negotiation".

inline constexpr std::uint64_t kInitPassword = 0x4e42444d41474943;  ///< "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;   ///< "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;

namespace handshake_flag {
inline constexpr std::uint16_t kFixedNewstyle = 1u << 0;
inline constexpr std::uint16_t kNoZeroes = 1u << 1;
}  // namespace handshake_flag

namespace client_flag {
inline constexpr std::uint32_t kFixedNewstyle = 1u << 0;
inline constexpr std::uint32_t kNoZeroes = 1u << 1;
inline constexpr std::uint32_t kKnown = kFixedNewstyle | kNoZeroes;
}  // namespace client_flag

/// "Option types".
enum class Option : std::uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};

/// "Option reply types". Errors have bit 31 set.
enum class OptionReply : std::uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  unsupported = 0x80000001,
  policy = 0x80000002,
  invalid = 0x80000003,
  platform = 0x80000004,
  tls_required = 0x80000005,
  unknown_export = 0x80000006,
  shutdown = 0x80000007,
  block_size_required = 0x80000008,
  too_big = 0x80000009,
  extended_headers_required = 0x8000000a,
};

/// Information types of `NBD_OPT_INFO`, `NBD_OPT_GO` and `NBD_REP_INFO`.
enum class InfoType : std::uint16_t { disk = 0, name = 1, description = 2, block_size = 3 };

struct ServerGreeting {
  be64 init_password;
  be64 option_magic;
  be16 handshake_flags;
};
static_assert(sizeof(ServerGreeting) == 18);

struct OptionHeader {
  be64 magic;
  be32 option;
  be32 length;  ///< of the data that follow
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
  be64 magic;
  be32 option;
  be32 type;
  be32 length;  ///< of the data that follow
};
static_assert(sizeof(OptionReplyHeader) == 20 && offsetof(OptionReplyHeader, length) == 16);

/// The answer to `NBD_OPT_EXPORT_NAME`; 124 zeroes follow unless the client does without.
struct ExportNameReply {
  be64 size;
  be16 transmission_flags;
};
static_assert(sizeof(ExportNameReply) == 10);
inline constexpr std::size_t kExportNameZeroes = 124;

struct InfoExport {
  be16 type;
  be64 size;
  be16 transmission_flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
  be16 type;
  be32 minimum;
  be32 preferred;
  be32 maximum_payload;
};
static_assert(sizeof(InfoBlockSize) == 14);

inline constexpr std::uint32_t kStringBytesMax = 4096;           ///< "Conventions"
inline constexpr std::uint32_t kPayloadBytesDefault = 1u << 25;  ///< "Size constraints"

/// "Transmission flags".
namespace transmission_flag {
inline constexpr std::uint16_t kHasFlags = 1u << 0;
inline constexpr std::uint16_t kReadOnly = 1u << 1;
inline constexpr std::uint16_t kSendFlush = 1u << 2;
inline constexpr std::uint16_t kSendFua = 1u << 3;
inline constexpr std::uint16_t kRotational = 1u << 4;
inline constexpr std::uint16_t kSendTrim = 1u << 5;
inline constexpr std::uint16_t kSendWriteZeroes = 1u << 6;
inline constexpr std::uint16_t kSendDf = 1u << 7;
inline constexpr std::uint16_t kCanMultiConn = 1u << 8;
inline constexpr std::uint16_t kSendResize = 1u << 9;
inline constexpr std::uint16_t kSendCache = 1u << 10;
inline constexpr std::uint16_t kSendFastZero = 1u << 11;
inline constexpr std::uint16_t kBlockStatusPayload = 1u << 12;
}  // namespace transmission_flag

// Transmission.

/// "Request types".
enum class Command : std::uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};

/// "Command flags".
namespace command_flag {
inline constexpr std::uint16_t kFua = 1u << 0;
inline constexpr std::uint16_t kNoHole = 1u << 1;
inline constexpr std::uint16_t kDf = 1u << 2;
inline constexpr std::uint16_t kReqOne = 1u << 3;
inline constexpr std::uint16_t kFastZero = 1u << 4;
inline constexpr std::uint16_t kPayloadLen = 1u << 5;
}  // namespace command_flag

inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedReplyMagic = 0x6e8a278c;

struct CompactRequest {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;
  be32 length;
};
static_assert(sizeof(CompactRequest) == 28 && offsetof(CompactRequest, length) == 24);

struct ExtendedRequest {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;
  be64 length;
};
static_assert(sizeof(ExtendedRequest) == 32 && offsetof(ExtendedRequest, length) == 24);

struct SimpleReply {
  be32 magic;
  be32 error;
  be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

inline constexpr std::uint16_t kReplyFlagDone = 1u << 0;

/// "Structured reply types". Errors have bit 15 set.
enum class ReplyType : std::uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  block_status_extended = 6,
  error = 0x8001,
  error_offset = 0x8002,
};

struct StructuredReply {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be32 length;
};
static_assert(sizeof(StructuredReply) == 20 && offsetof(StructuredReply, length) == 16);

struct ExtendedReply {
  be32 magic;
  be16 flags;
  be16 type;
  be64 cookie;
  be64 offset;  ///< the request's
  be64 length;
};
static_assert(sizeof(ExtendedReply) == 32 && offsetof(ExtendedReply, length) == 24);

/// The beginning of an `offset_data` chunk's payload; the data follow.
struct OffsetData {
  be64 offset;
};

struct OffsetHole {
  be64 offset;
  be32 length;
};
static_assert(sizeof(OffsetHole) == 12);

/// The beginning of an error chunk's payload; the message follows.
struct ErrorChunk {
  be32 error;
  be16 message_length;
};
static_assert(sizeof(ErrorChunk) == 6);

/// The beginning of a `block_status` chunk's payload; `Descriptor`s follow.
struct BlockStatus {
  be32 context_id;
};
struct Descriptor {
  be32 length;
  be32 flags;
};
static_assert(sizeof(Descriptor) == 8);

/// The beginning of a `block_status_extended` chunk's payload; `ExtendedDescriptor`s follow.
struct BlockStatusExtended {
  be32 context_id;
  be32 descriptor_count;
};
struct ExtendedDescriptor {
  be64 length;
  be64 flags;
};
static_assert(sizeof(ExtendedDescriptor) == 16);
inline constexpr std::uint32_t kDescriptorsMax = 1u << 20;

/// The beginning of a block status request's payload; context IDs (be32) follow.
struct BlockStatusPayload {
  be64 effect_length;
};

/// "Error values".
enum class WireError : std::uint32_t {
  none = 0,
  perm = 1,
  io = 5,
  nomem = 12,
  inval = 22,
  nospc = 28,
  overflow = 75,
  notsup = 95,
  shutdown = 108,
};

// Metadata contexts: the `base:` namespace of the specification, and QEMU's (docs/interop/nbd.rst).

inline constexpr char kBaseAllocation[] = "base:allocation";
inline constexpr char kAllocationDepth[] = "qemu:allocation-depth";
inline constexpr char kDirtyBitmapPrefix[] = "qemu:dirty-bitmap:";

namespace allocation_flag {
inline constexpr std::uint32_t kHole = 1u << 0;
inline constexpr std::uint32_t kZero = 1u << 1;
}  // namespace allocation_flag
inline constexpr std::uint32_t kDirtyFlag = 1u << 0;

static_assert(std::is_trivially_copyable_v<CompactRequest> && alignof(CompactRequest) == 1);
static_assert(std::is_trivially_copyable_v<ExtendedRequest> && alignof(ExtendedRequest) == 1);
static_assert(std::is_trivially_copyable_v<ExtendedReply> && alignof(ExtendedReply) == 1);

}  // namespace qcowkit::nbd
