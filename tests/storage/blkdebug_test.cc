// What rules, breakpoints and lengths of blkdebug do to requests. What is expected of rules has
// been seen of the reference.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "qcowkit/error.h"
#include "storage/blkdebug.h"
#include "storage/forwarding_storage.h"
#include "storage/memory_storage.h"

namespace qcowkit {
namespace {

constexpr std::uint64_t kSize = 1 << 20;

/// Keeps a list of the writes that arrive.
class Recorder final : public ForwardingStorage {
 public:
  struct Write {
    char kind;
    std::uint64_t offset;
    std::uint64_t bytes;
    bool operator==(const Write&) const = default;
  };
  Recorder() : ForwardingStorage(std::make_unique<MemoryStorage>()) {
    resize(kSize, Preallocation::off);
  }
  void writev(std::uint64_t at, std::span<const iovec> from) override {
    std::uint64_t bytes = 0;
    for (const iovec& part : from) bytes += part.iov_len;
    writes.push_back({'w', at, bytes});
    ForwardingStorage::writev(at, from);
  }
  bool write_zeroes(std::uint64_t at, std::uint64_t bytes, ZeroOptions options) override {
    writes.push_back({'z', at, bytes});
    return ForwardingStorage::write_zeroes(at, bytes, options);
  }
  void discard(std::uint64_t at, std::uint64_t bytes) override {
    writes.push_back({'d', at, bytes});
    ForwardingStorage::discard(at, bytes);
  }

  std::vector<Write> writes;
};

/// A blkdebug storage over memory, with what a test asks of it.
struct Fixture {
  explicit Fixture(BlkdebugOptions options = {}) {
    options.say = [this](std::string_view line) { said.emplace_back(line); };
    auto owned = std::make_unique<Recorder>();
    recorder = owned.get();
    storage = make_blkdebug(std::move(owned), options);
  }
  explicit Fixture(std::string_view rules) : Fixture(parse_blkdebug_config(rules)) {}

  /// 0, or the errno with which the request failed.
  template <typename Request>
  int outcome(Request request) {
    try {
      request();
      return 0;
    } catch (const Error& error) {
      return error.code().value();
    }
  }
  int read(std::uint64_t at = 0, std::size_t bytes = 4096) {
    std::vector<std::byte> buffer(bytes);
    storage->raise(Event::read_aio, at, bytes);
    return outcome([&] { storage->read(at, buffer); });
  }
  int write(std::uint64_t at = 0, std::size_t bytes = 4096) {
    const std::vector<std::byte> buffer(bytes, std::byte{1});
    storage->raise(Event::write_aio, at, bytes);
    return outcome([&] { storage->write(at, buffer); });
  }
  int flush() {
    storage->raise(Event::flush_to_os);
    return outcome([&] { storage->flush(); });
  }
  int zero(std::uint64_t at = 0, std::uint64_t bytes = 4096) {
    return outcome([&] { storage->write_zeroes(at, bytes, {}); });
  }
  int discard(std::uint64_t at = 0, std::uint64_t bytes = 4096) {
    return outcome([&] { storage->discard(at, bytes); });
  }
  int status() {
    return outcome([&] { storage->extent_at(0, 4096); });
  }

  std::vector<std::string> said;
  Recorder* recorder = nullptr;
  std::unique_ptr<Storage> storage;
};

TEST(Blkdebug, ErrorStaysOnceItsEventHasCome) {
  Fixture f("[inject-error]\nevent = \"read_aio\"\nerrno = \"28\"\n");
  EXPECT_EQ(f.write(), 0);
  EXPECT_EQ(f.read(), ENOSPC);
  EXPECT_EQ(f.write(), ENOSPC);
  EXPECT_EQ(f.flush(), ENOSPC);
  EXPECT_EQ(f.zero(), ENOSPC);
  EXPECT_EQ(f.discard(), ENOSPC);
  EXPECT_EQ(f.status(), 0);
}

TEST(Blkdebug, ErrorOnceIsOverAfterOneRequest) {
  Fixture f("[inject-error]\nevent = \"read_aio\"\nonce = \"on\"\n");
  EXPECT_EQ(f.read(), EIO);
  EXPECT_EQ(f.read(), 0);
  EXPECT_EQ(f.write(), 0);
}

TEST(Blkdebug, ErrorsOfOneEventFailOneRequestEach) {
  Fixture f(
      "[inject-error]\nevent = \"read_aio\"\nonce = \"on\"\n"
      "[inject-error]\nevent = \"read_aio\"\nonce = \"on\"\nerrno = \"28\"\n");
  EXPECT_EQ(f.read(), EIO);
  EXPECT_EQ(f.flush(), ENOSPC);
  EXPECT_EQ(f.read(), 0);
}

TEST(Blkdebug, ErrorsOfAnEventReplaceThoseOfTheLast) {
  Fixture f(
      "[inject-error]\nevent = \"read_aio\"\niotype = \"write\"\n"
      "[inject-error]\nevent = \"flush_to_os\"\niotype = \"read\"\n");
  EXPECT_EQ(f.read(), 0);
  EXPECT_EQ(f.write(), EIO);
  EXPECT_EQ(f.flush(), 0);
  EXPECT_EQ(f.write(), 0);
}

TEST(Blkdebug, EventWhoseRulesDoNotMatchReplacesNothing) {
  Fixture f(
      "[inject-error]\nevent = \"read_aio\"\niotype = \"write\"\n"
      "[inject-error]\nevent = \"flush_to_os\"\niotype = \"read\"\nstate = \"3\"\n");
  EXPECT_EQ(f.read(), 0);
  EXPECT_EQ(f.flush(), 0);
  EXPECT_EQ(f.write(), EIO);
}

TEST(Blkdebug, SectorLimitsErrorsToRequestsThatTouchIt) {
  Fixture f("[inject-error]\nevent = \"none\"\nsector = \"9\"\n");
  EXPECT_EQ(f.read(0, 4096), 0);
  EXPECT_EQ(f.read(0, 8192), EIO);
  EXPECT_EQ(f.write(4096, 512), 0);
  EXPECT_EQ(f.write(4608, 1), EIO);
  EXPECT_EQ(f.write(5120, 512), 0);
  EXPECT_EQ(f.discard(4096, 4096), EIO);
  EXPECT_EQ(f.zero(4096, 4096), EIO);
  EXPECT_EQ(f.flush(), 0);
}

TEST(Blkdebug, KindLimitsErrorsToSuchRequests) {
  const std::string rule = "[inject-error]\nevent = \"none\"\niotype = ";
  EXPECT_EQ(Fixture(rule + "\"read\"\n").read(), EIO);
  EXPECT_EQ(Fixture(rule + "\"read\"\n").write(), 0);
  EXPECT_EQ(Fixture(rule + "\"write\"\n").write(), EIO);
  EXPECT_EQ(Fixture(rule + "\"write\"\n").zero(), 0);
  EXPECT_EQ(Fixture(rule + "\"write-zeroes\"\n").zero(), EIO);
  EXPECT_EQ(Fixture(rule + "\"discard\"\n").discard(), EIO);
  EXPECT_EQ(Fixture(rule + "\"flush\"\n").flush(), EIO);
  EXPECT_EQ(Fixture(rule + "\"block-status\"\n").status(), EIO);
  EXPECT_EQ(Fixture(rule + "\"block-status\"\n").read(), 0);
}

TEST(Blkdebug, ErrorOfZeroOrLessLetsRequestsSucceed) {
  EXPECT_EQ(Fixture("[inject-error]\nevent = \"read_aio\"\nerrno = \"-3\"\n").read(), 0);
  EXPECT_EQ(Fixture("[inject-error]\nevent = \"read_aio\"\nerrno = \"0\"\n").read(), 0);
}

TEST(Blkdebug, StateChosenByAnEventCountsFromTheNextOn) {
  Fixture f(
      "[inject-error]\nevent = \"write_aio\"\nstate = \"2\"\nonce = \"on\"\n"
      "[set-state]\nevent = \"write_aio\"\nstate = \"1\"\nnew_state = \"2\"\n");
  EXPECT_EQ(f.write(), 0);
  EXPECT_EQ(f.write(), EIO);
  EXPECT_EQ(f.write(), 0);
}

TEST(Blkdebug, OfStatesForOneEventTheFirstInTheFileHolds) {
  Fixture f(
      "[set-state]\nevent = \"read_aio\"\nnew_state = \"2\"\n"
      "[set-state]\nevent = \"read_aio\"\nnew_state = \"3\"\n"
      "[inject-error]\nevent = \"read_aio\"\nstate = \"2\"\n");
  EXPECT_EQ(f.read(), 0);
  EXPECT_EQ(f.read(), EIO);
}

TEST(Blkdebug, ItsOwnWritesAreEvents) {
  EXPECT_EQ(Fixture("[inject-error]\nevent = \"pwritev\"\n").write(), EIO);
  EXPECT_EQ(Fixture("[inject-error]\nevent = \"pwritev\"\n").zero(), 0);
  EXPECT_EQ(Fixture("[inject-error]\nevent = \"pwritev_zero\"\n").zero(), EIO);
  Fixture done("[inject-error]\nevent = \"pwritev_done\"\n");
  EXPECT_EQ(done.write(), 0);
  EXPECT_EQ(done.read(), EIO);
}

// --- Lengths -----------------------------------------------------------------------------------

TEST(Blkdebug, LengthsThatDoNotFitAreRefused) {
  const auto message = [](const BlkdebugOptions& options) -> std::string {
    try {
      make_blkdebug(std::make_unique<MemoryStorage>(), options);
    } catch (const Error& error) {
      return error.message();
    }
    return {};
  };
  EXPECT_EQ(message({.align = 3}), "Cannot meet constraints with align 3");
  EXPECT_EQ(message({.align = 8ull << 30}), "Cannot meet constraints with align 8589934592");
  EXPECT_EQ(message({.align = 4096, .max_transfer = 512}),
            "Cannot meet constraints with max-transfer 512");
  EXPECT_EQ(message({.max_transfer = 1ull << 32}),
            "Cannot meet constraints with max-transfer 4294967296");
  EXPECT_EQ(message({.align = 512, .opt_write_zero = 100}),
            "Cannot meet constraints with opt-write-zero 100");
  EXPECT_EQ(message({.opt_write_zero = 65536, .max_write_zero = 4096}),
            "Cannot meet constraints with max-write-zero 4096");
  EXPECT_EQ(message({.opt_discard = 65536, .max_discard = 4096}),
            "Cannot meet constraints with max-discard 4096");
  EXPECT_EQ(message({.align = 4096, .max_transfer = 8192}), "");
}

TEST(Blkdebug, UnalignedWriteIsCompletedByWhatIsThere) {
  Fixture f(BlkdebugOptions{.align = 4096});
  ASSERT_EQ(f.write(0, 16384), 0);
  f.recorder->writes.clear();
  const std::array<std::byte, 3> bytes{std::byte{7}, std::byte{8}, std::byte{9}};
  f.storage->write(4095, bytes);
  EXPECT_EQ(f.recorder->writes, (std::vector<Recorder::Write>{{'w', 0, 8192}}));
  std::array<std::byte, 5> read{};
  f.storage->read(4094, read);
  const std::array<std::byte, 5> expected{std::byte{1}, std::byte{7}, std::byte{8}, std::byte{9},
                                          std::byte{1}};
  EXPECT_EQ(read, expected);
}

TEST(Blkdebug, PaddingDoesNotMakeTheStorageGrow) {
  Fixture f(BlkdebugOptions{.align = 4096});
  ASSERT_EQ(f.write(kSize + 10, 5), 0);
  EXPECT_EQ(f.storage->size(), kSize + 15);
}

TEST(Blkdebug, CompletingAWriteIsAnEvent) {
  for (const char* event : {"pwritev_rmw_head", "pwritev_rmw_after_head", "pwritev_rmw_tail",
                            "pwritev_rmw_after_tail"}) {
    BlkdebugOptions options{.align = 4096};
    options.inject_error.push_back({find_blkdebug_event(event).value()});
    Fixture f(options);
    EXPECT_EQ(f.write(0, 8192), 0) << event;
    EXPECT_EQ(f.write(100, 8192), EIO) << event;
  }
}

TEST(Blkdebug, LongRequestsAreSplit) {
  Fixture f(BlkdebugOptions{.max_transfer = 4096, .max_write_zero = 8192, .max_discard = 8192});
  using Write = Recorder::Write;
  ASSERT_EQ(f.write(512, 9000), 0);
  EXPECT_EQ(f.recorder->writes,
            (std::vector<Write>{{'w', 512, 4096}, {'w', 4608, 4096}, {'w', 8704, 808}}));
  f.recorder->writes.clear();
  ASSERT_EQ(f.zero(0, 12288), 0);
  ASSERT_EQ(f.discard(0, 12288), 0);
  EXPECT_EQ(
      f.recorder->writes,
      (std::vector<Write>{{'z', 0, 8192}, {'z', 8192, 4096}, {'d', 0, 8192}, {'d', 8192, 4096}}));
  EXPECT_EQ(f.read(0, 9000), 0);
}

TEST(Blkdebug, EndsOfAZeroRequestAreWritten) {
  Fixture f(BlkdebugOptions{.opt_write_zero = 4096});
  ASSERT_EQ(f.zero(512, 8192), 0);
  using Write = Recorder::Write;
  EXPECT_EQ(f.recorder->writes,
            (std::vector<Write>{{'w', 512, 3584}, {'z', 4096, 4096}, {'w', 8192, 512}}));
  f.recorder->writes.clear();
  EXPECT_FALSE(f.storage->write_zeroes(512, 8192, {.no_fallback = true}));
  EXPECT_TRUE(f.recorder->writes.empty());
}

// --- Breakpoints -------------------------------------------------------------------------------

TEST(Blkdebug, BreakpointStopsOneRequestUntilItIsResumed) {
  Fixture f;
  Breakpoints& breakpoints = *f.storage->breakpoints();
  breakpoints.set(Event::read_aio, "A");
  EXPECT_FALSE(breakpoints.is_stopped("A"));
  std::thread reader([&] { EXPECT_EQ(f.read(), 0); });
  breakpoints.wait_until_stopped("A");
  EXPECT_TRUE(breakpoints.is_stopped("A"));
  EXPECT_EQ(f.read(), 0);  // the breakpoint is used up
  EXPECT_FALSE(breakpoints.resume("B"));
  EXPECT_TRUE(breakpoints.resume("A"));
  reader.join();
  EXPECT_FALSE(breakpoints.is_stopped("A"));
  EXPECT_FALSE(breakpoints.resume("A"));
  EXPECT_EQ(f.said, (std::vector<std::string>{"blkdebug: Suspended request 'A'",
                                              "blkdebug: Resuming request 'A'"}));
}

TEST(Blkdebug, RequestAtTwoBreakpointsWaitsForBoth) {
  Fixture f;
  Breakpoints& breakpoints = *f.storage->breakpoints();
  breakpoints.set(Event::read_aio, "A");
  breakpoints.set(Event::read_aio, "B");
  std::atomic<bool> is_done{false};
  std::thread reader([&] {
    EXPECT_EQ(f.read(), 0);
    is_done = true;
  });
  breakpoints.wait_until_stopped("A");
  EXPECT_TRUE(breakpoints.is_stopped("B"));
  EXPECT_TRUE(breakpoints.resume("B"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(is_done);
  EXPECT_TRUE(breakpoints.resume("A"));
  reader.join();
}

TEST(Blkdebug, RemovingABreakpointLetsItsRequestGo) {
  Fixture f;
  Breakpoints& breakpoints = *f.storage->breakpoints();
  EXPECT_FALSE(breakpoints.remove("A"));
  breakpoints.set(Event::read_aio, "A");
  EXPECT_TRUE(breakpoints.remove("A"));
  EXPECT_EQ(f.read(), 0);

  breakpoints.set(Event::read_aio, "A");
  std::thread reader([&] { EXPECT_EQ(f.read(), 0); });
  breakpoints.wait_until_stopped("A");
  EXPECT_FALSE(breakpoints.remove("A"));  // it was used up; the request goes on all the same
  reader.join();
}

// --- Listening ---------------------------------------------------------------------------------

class CountingListener final : public EventListener {
 public:
  void on_event(Event, std::uint64_t, std::uint64_t) noexcept override { ++count; }
  int count = 0;
};

TEST(Blkdebug, ListenersHearEventsBeforeTheRulesDo) {
  Fixture f("[inject-error]\nevent = \"read_aio\"\n");
  CountingListener listener;
  f.storage->set_listener(&listener);
  EXPECT_EQ(f.read(), EIO);
  EXPECT_EQ(listener.count, 1);
}

}  // namespace
}  // namespace qcowkit
