// How requests are waited for: looking out for them where that helps, and little being read ahead
// of large payloads.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "export/nbd/request_reader.h"
#include "tests/export/nbd/wire_bytes.h"

namespace qcowkit::nbd::test {
namespace {

/// A client that has the same request ready whenever it is asked.
class PromptTransport final : public NbdTransport {
 public:
  explicit PromptTransport(Bytes request) : request_(std::move(request)) {}

  std::optional<std::size_t> receive(std::span<std::byte> into) override {
    rooms.push_back(into.size());
    if (left_.empty()) left_ = request_;
    const std::size_t count = std::min(into.size(), left_.size());
    std::copy_n(left_.begin(), count, into.begin());
    left_.erase(left_.begin(), left_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }
  bool has_bytes() noexcept override {
    ++looks;
    return is_early;
  }
  void wait() override {}
  void send(std::span<const iovec>) override {}
  void shut_down(Direction) noexcept override {}

  bool is_early = true;  ///< has sent its request before it is looked for
  int looks = 0;
  std::vector<std::size_t> rooms;  ///< how much could be received, time after time

 private:
  const Bytes request_;
  Bytes left_;
};

class LookOut : public testing::Test {
 protected:
  explicit LookOut(Bytes request = compact(Command::read, 0, 512))
      : transport_(std::move(request)),
        reader_(transport_, {Style::structured, std::uint64_t{1} << 30, false, 1}, budget_,
                draining_, [](auto&&...) { return WireError::nomem; }) {}

  /// Reads one request; returns how often it was looked for.
  int read(bool is_alone) {
    const int before = transport_.looks;
    std::vector<Incoming> requests;
    reader_.read(requests, spare_, is_alone);
    EXPECT_EQ(requests.size(), 1u);
    return transport_.looks - before;
  }

  PromptTransport transport_;
  MemoryPool pool_;
  MemoryBudget budget_{pool_};
  std::atomic<bool> draining_{false};
  Buffer spare_;
  RequestReader reader_;
};

TEST_F(LookOut, FindsARequestThatIsThere) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(read(/*is_alone=*/true), 1);
}

TEST_F(LookOut, IsLeftToOthersWhileTheyWork) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(read(/*is_alone=*/false), 0);
}

TEST_F(LookOut, InVainIsTriedLessAndLessOftenUntilItHelps) {
  transport_.is_early = false;
  int tries = 0;
  for (int i = 0; i < 700; ++i) tries += read(/*is_alone=*/true) > 0;
  EXPECT_GE(tries, 10);
  EXPECT_LE(tries, 20);
  transport_.is_early = true;
  for (int i = 0; i < 64; ++i) read(/*is_alone=*/true);
  EXPECT_EQ(read(/*is_alone=*/true), 1);
}

class LargeWrites : public LookOut {
 protected:
  static constexpr std::uint32_t kBytes = 1 << 20;
  LargeWrites() : LookOut(request()) {}

  static Bytes request() {
    Bytes bytes = compact(Command::write, 0, kBytes);
    bytes.resize(bytes.size() + kBytes);
    return bytes;
  }
};

TEST_F(LargeWrites, AreReceivedWhereTheyStayButForAFewBytes) {
  read(/*is_alone=*/false);
  transport_.rooms.clear();
  read(/*is_alone=*/false);
  ASSERT_EQ(transport_.rooms.size(), 2u);
  EXPECT_LE(transport_.rooms[0], 4096u);
  EXPECT_GE(transport_.rooms[1], kBytes - 4096u);
}

}  // namespace
}  // namespace qcowkit::nbd::test
