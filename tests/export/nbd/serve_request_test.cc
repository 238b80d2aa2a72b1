// What requests do, in each style of replies.
#include "export/nbd/serve_request.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/export/nbd/raw_client.h"
#include "tests/export/nbd/served_disk.h"
#include "tests/support/fault_storage.h"
#include "tests/support/seeds.h"

namespace qcowkit::nbd::test {
namespace {

using qcowkit::test::FaultPlan;
using qcowkit::test::FaultStorage;

constexpr std::uint64_t kSize = 4 << 20;
constexpr std::uint64_t kCluster = 65536;

Bytes filled(std::size_t length, int value) { return Bytes(length, static_cast<std::byte>(value)); }

std::string name_of(Style style) {
  return style == Style::simple ? "Simple" : style == Style::structured ? "Structured" : "Extended";
}

class RequestsOf : public testing::TestWithParam<Style> {
 protected:
  RequestsOf() : disk_(memory_image("qcow2", kSize, storage())), client_(disk_.socket()) {
    client_.enter(GetParam());
  }
  std::unique_ptr<Storage> storage() {
    return std::make_unique<FaultStorage>(make_memory_storage(), plan_);
  }
  WireError answer_to(Command command, std::uint64_t offset, std::uint64_t length,
                      std::uint16_t flags = 0) {
    client_.request(command, offset, length, flags);
    return client_.answer();
  }
  WireError write(std::uint64_t offset, const Bytes& data, std::uint16_t flags = 0) {
    client_.write(offset, data, flags);
    return client_.answer();
  }

  const std::shared_ptr<FaultPlan> plan_ = std::make_shared<FaultPlan>();
  ServedDisk disk_;
  RawClient client_;
};
INSTANTIATE_TEST_SUITE_P(Styles, RequestsOf,
                         testing::Values(Style::simple, Style::structured, Style::extended),
                         [](const auto& style) { return name_of(style.param); });

TEST_P(RequestsOf, WhatIsWrittenIsRead) {
  EXPECT_EQ(write(1000, filled(3000, 5)), WireError::none);
  Bytes expected = filled(5000, 0);
  std::fill_n(expected.begin() + 1000, 3000, std::byte{5});
  EXPECT_EQ(client_.read(0, 5000), expected);
}

TEST_P(RequestsOf, LargeRequestsGoThroughWhole) {
  Bytes content(3 << 20);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i >> 9);
  EXPECT_EQ(write(kCluster / 2, content), WireError::none);
  EXPECT_EQ(client_.read(kCluster / 2, 3 << 20), content);
}

TEST_P(RequestsOf, ZeroLengthIsDoneAtOnce) {
  EXPECT_EQ(write(17, {}), WireError::none);
  EXPECT_EQ(answer_to(Command::trim, 17, 0), WireError::none);
  EXPECT_EQ(answer_to(Command::write_zeroes, kSize, 0), WireError::none);
  EXPECT_TRUE(client_.read(17, 0).empty());
}

TEST_P(RequestsOf, TrimAndZeroesMakeZeroes) {
  EXPECT_EQ(write(0, filled(4 * kCluster, 1)), WireError::none);
  EXPECT_EQ(answer_to(Command::trim, 0, kCluster), WireError::none);
  EXPECT_EQ(answer_to(Command::write_zeroes, kCluster, kCluster), WireError::none);
  EXPECT_EQ(answer_to(Command::write_zeroes, 2 * kCluster, kCluster, command_flag::kNoHole),
            WireError::none);
  Bytes expected = filled(4 * kCluster, 0);
  std::fill_n(expected.begin() + 3 * kCluster, kCluster, std::byte{1});
  EXPECT_EQ(client_.read(0, 4 * kCluster), expected);
  EXPECT_FALSE(disk_.image->map(0, kCluster).host_offset);
  EXPECT_FALSE(disk_.image->map(kCluster, kCluster).host_offset);
  EXPECT_TRUE(disk_.image->map(2 * kCluster, kCluster).host_offset);
}

TEST_P(RequestsOf, FastZeroesAreFastOrNotDone) {
  EXPECT_EQ(write(0, filled(kCluster, 1)), WireError::none);
  EXPECT_EQ(answer_to(Command::write_zeroes, 0, kCluster, command_flag::kFastZero),
            WireError::none);
  EXPECT_EQ(client_.read(0, 16), filled(16, 0));
  EXPECT_EQ(write(0, filled(kCluster, 1)), WireError::none);
  EXPECT_EQ(answer_to(Command::write_zeroes, 10, 100, command_flag::kFastZero), WireError::notsup);
  EXPECT_EQ(client_.read(10, 100), filled(100, 1));
}

TEST_P(RequestsOf, FlushAndForcedUnitAccessReachTheStorage) {
  const auto flushes = [&] { return plan_->count(qcowkit::test::kFlushes); };
  const std::uint64_t before = flushes();
  EXPECT_EQ(write(0, filled(512, 1)), WireError::none);
  EXPECT_EQ(flushes(), before);
  EXPECT_EQ(answer_to(Command::flush, 0, 0), WireError::none);
  const std::uint64_t after_flush = flushes();
  EXPECT_GT(after_flush, before);
  EXPECT_EQ(write(512, filled(512, 1), command_flag::kFua), WireError::none);
  EXPECT_GT(flushes(), after_flush);
}

TEST_P(RequestsOf, CacheChangesNothing) {
  EXPECT_EQ(write(0, filled(kCluster, 9)), WireError::none);
  EXPECT_EQ(answer_to(Command::cache, 0, kSize), WireError::none);
  EXPECT_EQ(client_.read(0, kCluster), filled(kCluster, 9));
}

TEST_P(RequestsOf, FailuresAreToldAndTheNextRequestIsServed) {
  EXPECT_EQ(write(0, filled(kCluster, 1)), WireError::none);
  plan_->arm({.operations = qcowkit::test::kReads});
  client_.request(Command::read, 0, 512);
  EXPECT_EQ(client_.chunk().error, WireError::io);
  plan_->arm({.operations = qcowkit::test::kWrites, .errno_value = ENOSPC});
  EXPECT_EQ(write(0, filled(512, 2)), WireError::nospc);
  plan_->disarm();
  EXPECT_EQ(client_.read(0, 512), filled(512, 1));
  EXPECT_TRUE(disk_.diary.wait_for("problem client 1: read of 512 bytes at offset 0", 1));
}

TEST_P(RequestsOf, RefusalsAreToldAndTheNextRequestIsServed) {
  EXPECT_EQ(answer_to(Command::trim, kSize, 1), WireError::inval);
  EXPECT_EQ(answer_to(static_cast<Command>(77), 0, 512), WireError::inval);
  EXPECT_EQ(write(kSize - 1, filled(100'000, 1)), WireError::nospc);
  EXPECT_EQ(answer_to(Command::write_zeroes, 0, 1, 0x80), WireError::inval);
  EXPECT_EQ(answer_to(Command::block_status, 0, 1), WireError::inval);
  EXPECT_EQ(client_.read(0, 16), filled(16, 0));
}

TEST_P(RequestsOf, ManyAtOnceAreAllAnswered) {
  for (std::uint64_t i = 0; i < 300; ++i) {
    client_.write(i * 512, filled(512, static_cast<int>(i)), 0, i);
  }
  std::vector<bool> answered(300);
  for (int i = 0; i < 300; ++i) {
    const Chunk reply = client_.chunk();
    EXPECT_EQ(reply.error, WireError::none);
    ASSERT_LT(reply.cookie, 300u);
    EXPECT_FALSE(answered[reply.cookie]);
    answered[reply.cookie] = true;
  }
  for (std::uint64_t i = 0; i < 300; i += 37) {
    EXPECT_EQ(client_.read(i * 512, 512), filled(512, static_cast<int>(i)));
  }
}

/// The disk is what a plain array of bytes would be.
TEST_P(RequestsOf, RandomRequestsMatchAModel) {
  const std::uint64_t seed = qcowkit::test::environment_number("QCOWKIT_SEED").value_or(1);
  SCOPED_TRACE("QCOWKIT_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  Bytes model(kSize);
  for (int step = 0; step < 300 && !HasFailure(); ++step) {
    const std::uint64_t offset = random() % kSize;
    const auto length = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(random() >> (random() % 14 + 45), kSize - offset));
    const auto at = model.begin() + static_cast<std::ptrdiff_t>(offset);
    switch (random() % 4) {
      case 0:
        ASSERT_EQ(write(offset, filled(length, step)), WireError::none);
        std::fill_n(at, length, static_cast<std::byte>(step));
        break;
      case 1:
        ASSERT_EQ(answer_to(Command::write_zeroes, offset, length), WireError::none);
        std::fill_n(at, length, std::byte{0});
        break;
      default: {
        const bool whole = GetParam() != Style::simple && random() % 2 == 0;
        ASSERT_EQ(client_.read(offset, length, whole ? command_flag::kDf : 0),
                  Bytes(at, at + length));
      }
    }
  }
}

// What only chunks can do.

class ChunksOf : public RequestsOf {
 protected:
  Chunk reply_to_read(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
    client_.request(Command::read, offset, length, flags);
    return client_.chunk();
  }
};
INSTANTIATE_TEST_SUITE_P(Styles, ChunksOf, testing::Values(Style::structured, Style::extended),
                         [](const auto& style) { return name_of(style.param); });

TEST_P(ChunksOf, HolesAreHoles) {
  const Chunk reply = reply_to_read(kCluster, kCluster);
  EXPECT_EQ(reply.type, ReplyType::offset_hole);
  EXPECT_TRUE(reply.is_last);
  EXPECT_EQ(first<OffsetHole>(reply.payload).offset, kCluster);
  EXPECT_EQ(first<OffsetHole>(reply.payload).length, kCluster);
}

TEST_P(ChunksOf, DataAmidHolesAreOneChunk) {
  EXPECT_EQ(write(kCluster, filled(2 * kCluster, 3)), WireError::none);
  EXPECT_EQ(reply_to_read(0, 4 * kCluster).type, ReplyType::offset_hole);
  const Chunk data = client_.chunk();
  EXPECT_EQ(data.type, ReplyType::offset_data);
  EXPECT_EQ(data.payload.size(), sizeof(OffsetData) + 2 * kCluster);
  EXPECT_EQ(first<OffsetData>(data.payload).offset, kCluster);
  EXPECT_FALSE(data.is_last);
  const Chunk hole = client_.chunk();
  EXPECT_EQ(hole.type, ReplyType::offset_hole);
  EXPECT_TRUE(hole.is_last);
}

TEST_P(ChunksOf, UnfragmentedReadsAreOneChunk) {
  EXPECT_EQ(write(kCluster, filled(kCluster, 3)), WireError::none);
  const Chunk whole = reply_to_read(0, kSize, command_flag::kDf);
  EXPECT_EQ(whole.type, ReplyType::offset_data);
  EXPECT_TRUE(whole.is_last);
  EXPECT_EQ(whole.payload.size(), sizeof(OffsetData) + kSize);
}

TEST_P(ChunksOf, ErrorAmidAReadComesLast) {
  EXPECT_EQ(write(kCluster, filled(kCluster, 3)), WireError::none);
  plan_->arm({.operations = qcowkit::test::kReads});
  EXPECT_EQ(reply_to_read(0, 4 * kCluster).type, ReplyType::offset_hole);
  const Chunk error = client_.chunk();
  EXPECT_EQ(error.type, ReplyType::error);
  EXPECT_EQ(error.error, WireError::io);
  EXPECT_TRUE(error.is_last);
}

TEST_P(ChunksOf, ErrorsHaveWordsThatNameNoFile) {
  const Chunk error = reply_to_read(kSize, 1);
  const auto raw = first<ErrorChunk>(error.payload);
  ASSERT_EQ(error.payload.size(), sizeof raw + raw.message_length);
  const std::string words(reinterpret_cast<const char*>(error.payload.data()) + sizeof raw,
                          raw.message_length);
  EXPECT_EQ(words, "invalid request");
}

TEST_P(ChunksOf, ExtendedRepliesRepeatTheRequestsOffset) {
  EXPECT_EQ(write(kCluster, filled(kCluster, 3)), WireError::none);
  const Chunk hole = reply_to_read(0, 2 * kCluster);
  const Chunk data = client_.chunk();
  EXPECT_EQ(hole.offset, 0u);
  EXPECT_EQ(data.offset, 0u);
  EXPECT_EQ(hole.cookie, 7u);
}

TEST(ExtendedRequests, EffectLengthsBeyond32BitsAreServed) {
  ServedDisk disk(memory_image("qcow2", std::uint64_t{6} << 30));
  RawClient client(disk.socket());
  client.enter(Style::extended, "", {kBaseAllocation});
  client.request(Command::write_zeroes, 0, std::uint64_t{6} << 30);
  EXPECT_EQ(client.answer(), WireError::none);
  client.request(Command::trim, 1 << 20, std::uint64_t{5} << 30);
  EXPECT_EQ(client.answer(), WireError::none);
  client.request(Command::block_status, 0, std::uint64_t{6} << 30);
  const Chunk status = client.chunk();
  ASSERT_EQ(status.payload.size(), sizeof(BlockStatusExtended) + sizeof(ExtendedDescriptor));
  const auto extent =
      first<ExtendedDescriptor>(std::span(status.payload).subspan(sizeof(BlockStatusExtended)));
  EXPECT_EQ(extent.length, std::uint64_t{6} << 30);
}

class BlockStatusOf : public testing::TestWithParam<Style> {
 protected:
  BlockStatusOf() : disk_(image(), exported()), client_(disk_.socket()) {
    client_.enter(GetParam(), "", {kBaseAllocation, kAllocationDepth, "qemu:dirty-bitmap:b"});
  }
  static std::unique_ptr<Image> image() {
    auto made = memory_image("qcow2", kSize);
    made->write(0, filled(kCluster, 1));
    made->add_bitmap({.name = "b"});
    made->write(2 * kCluster, filled(2 * kCluster, 1));
    made->write_zeroes(6 * kCluster, kCluster, true);
    return made;
  }
  static NbdExport exported() {
    NbdExport disk;
    disk.bitmaps = {"b"};
    disk.allocation_depth = true;
    return disk;
  }
  using Extents = std::vector<StatusExtent>;
  struct Status {
    std::uint32_t context;
    Extents extents;
  };
  Status next_status(bool is_last) {
    const Chunk chunk = client_.chunk();
    EXPECT_EQ(chunk.is_last, is_last);
    Status status{first<be32>(chunk.payload), {}};
    std::span<const std::byte> rest(chunk.payload);
    if (GetParam() == Style::extended) {
      EXPECT_EQ(chunk.type, ReplyType::block_status_extended);
      const std::uint32_t count = first<BlockStatusExtended>(rest).descriptor_count;
      for (rest = rest.subspan(sizeof(BlockStatusExtended)); !rest.empty();
           rest = rest.subspan(sizeof(ExtendedDescriptor))) {
        const auto raw = first<ExtendedDescriptor>(rest);
        status.extents.push_back({raw.length, static_cast<std::uint32_t>(raw.flags)});
      }
      EXPECT_EQ(count, status.extents.size());
    } else {
      EXPECT_EQ(chunk.type, ReplyType::block_status);
      for (rest = rest.subspan(sizeof(BlockStatus)); !rest.empty();
           rest = rest.subspan(sizeof(Descriptor))) {
        const auto raw = first<Descriptor>(rest);
        status.extents.push_back({raw.length, raw.flags});
      }
    }
    return status;
  }

  ServedDisk disk_;
  RawClient client_;
};
INSTANTIATE_TEST_SUITE_P(Styles, BlockStatusOf, testing::Values(Style::structured, Style::extended),
                         [](const auto& style) { return name_of(style.param); });

TEST_P(BlockStatusOf, TellsOfEachSelectedContext) {
  client_.request(Command::block_status, 0, kSize);
  const Status allocation = next_status(false);
  EXPECT_EQ(allocation.context, 0u);
  EXPECT_EQ(allocation.extents,
            (Extents{{kCluster, 0}, {kCluster, 3}, {2 * kCluster, 0}, {kSize - 4 * kCluster, 3}}));
  const Status depth = next_status(false);
  EXPECT_EQ(depth.context, 1u);
  // Whether zeroes are stored where there was nothing is the format's to say.
  const bool is_stored = disk_.image->map(6 * kCluster, 1).kind != ExtentKind::unallocated;
  Extents expected{{kCluster, 1}, {kCluster, 0}, {2 * kCluster, 1}, {2 * kCluster, 0}};
  if (is_stored) {
    expected.push_back({kCluster, 1});
    expected.push_back({kSize - 7 * kCluster, 0});
  } else {
    expected.back().length_bytes = kSize - 4 * kCluster;
  }
  EXPECT_EQ(depth.extents, expected);
  const Status bitmap = next_status(true);
  EXPECT_EQ(bitmap.context, 2u);
  EXPECT_EQ(bitmap.extents, (Extents{{2 * kCluster, 0},
                                     {2 * kCluster, 1},
                                     {2 * kCluster, 0},
                                     {kCluster, 1},
                                     {kSize - 7 * kCluster, 0}}));
}

TEST_P(BlockStatusOf, OneExtentEachIfSoAsked) {
  client_.request(Command::block_status, 100, kCluster, command_flag::kReqOne);
  EXPECT_EQ(next_status(false).extents, (Extents{{kCluster - 100, 0}}));
  EXPECT_EQ(next_status(false).extents, (Extents{{kCluster - 100, 1}}));
  EXPECT_EQ(next_status(true).extents, (Extents{{kCluster, 0}}));
}

TEST_P(BlockStatusOf, EndsWhereTheRequestEnds) {
  client_.request(Command::block_status, 5 * kCluster, 10);
  for (int context = 0; context < 3; ++context) {
    EXPECT_EQ(next_status(context == 2).extents.at(0).length_bytes, 10u);
  }
}

/// Only extended headers have payloads.
using BlockStatusWithPayload = BlockStatusOf;
INSTANTIATE_TEST_SUITE_P(Styles, BlockStatusWithPayload, testing::Values(Style::extended),
                         [](const auto& style) { return name_of(style.param); });

TEST_P(BlockStatusWithPayload, ChoosesContexts) {
  Bytes payload;
  append(payload, be64(kCluster));
  append(payload, be32(2));
  client_.request(Command::block_status, 0, payload.size(), command_flag::kPayloadLen);
  client_.send(payload);
  EXPECT_EQ(next_status(true).context, 2u);
  store_big_endian<std::uint32_t>(payload.data() + 8, 5);
  client_.request(Command::block_status, 0, payload.size(), command_flag::kPayloadLen);
  client_.send(payload);
  EXPECT_EQ(client_.answer(), WireError::inval);
}

TEST(ExportWindow, IsAllThatClientsReach) {
  NbdExport part;
  part.guest_offset = 100'000;
  part.size_bytes = 50'000;
  ServedDisk disk(memory_image("raw", kSize), part);
  RawClient client(disk.socket());
  EXPECT_EQ(client.enter(), 50'000u);
  client.write(0, filled(50'000, 1));
  EXPECT_EQ(client.answer(), WireError::none);
  client.write(1, filled(50'000, 2));
  EXPECT_EQ(client.answer(), WireError::nospc);
  Bytes around(50'002);
  disk.image->read(99'999, around);
  EXPECT_EQ(around.front(), std::byte{0});
  EXPECT_EQ(around.back(), std::byte{0});
  EXPECT_EQ(around[1], std::byte{1});
  EXPECT_EQ(around[50'000], std::byte{1});
}

}  // namespace
}  // namespace qcowkit::nbd::test
