// The driver "quorum": several copies of the same bytes, which vote.
#include "storage/quorum_storage.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/buffer.h"
#include "base/range_lock.h"
#include "qcowkit/error.h"
#include "storage/iovec_cursor.h"
#include "storage/quorum_vote.h"

namespace qcowkit {

namespace {

using Children = std::vector<std::unique_ptr<Storage>>;

class QuorumStorage final : public Storage {
 public:
  QuorumStorage(Children children, QuorumOptions options)
      : children_(std::move(children)), options_(std::move(options)) {
    Storage::set_listener(children_.front()->listener());
  }

  void readv(std::uint64_t host_offset, std::span<const iovec> into) override;
  void writev(std::uint64_t host_offset, std::span<const iovec> from) override;
  bool write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                    ZeroOptions options) override;
  /// A hint that the children may take in different ways, so that they would disagree.
  void discard(std::uint64_t, std::uint64_t) override {}
  void flush() override {
    require_quorum([](Storage& child) { child.flush(); });
  }
  void resize(std::uint64_t, Preallocation) override {
    throw Error(Errc::unsupported, "Image format driver does not support resize");
  }
  std::uint64_t size() const override;
  std::uint64_t allocated_bytes() const override;
  StorageExtent extent_at(std::uint64_t host_offset, std::uint64_t length_bytes) const override;
  bool can_grow() const noexcept override {
    return std::ranges::all_of(children_, [](const auto& child) { return child->can_grow(); });
  }
  std::uint32_t alignment() const noexcept override;
  bool is_read_only() const noexcept override {
    return std::ranges::any_of(children_, [](const auto& child) { return child->is_read_only(); });
  }
  const std::string& name() const noexcept override { return children_.front()->name(); }
  void close() override;
  Breakpoints* breakpoints() noexcept override;
  /// All children hear of it; what is raised here goes to the first one's.
  void set_listener(EventListener* listener) noexcept override {
    for (const auto& child : children_) child->set_listener(listener);
    Storage::set_listener(children_.front()->listener());
  }

 private:
  using Range = RangeLock::Guard;

  void read_first(std::uint64_t host_offset, std::span<const iovec> into);
  bool read_by_votes(std::uint64_t host_offset, std::span<const iovec> into, bool rewrites);
  void require_same(std::uint64_t host_offset, const QuorumVote& vote) const;
  void rewrite_losers(std::uint64_t host_offset, const QuorumVote& vote);

  /// Runs `work` on every child. If too few succeed, throws what most of the others died of.
  template <typename Work>
  void require_quorum(Work work) {
    QuorumErrors errors;
    for (const auto& child : children_) {
      errors.run([&] { work(*child); });
    }
    if (children_.size() - errors.count() < options_.vote_threshold) errors.raise();
  }

  // Constant after construction.
  const Children children_;
  const QuorumOptions options_;

  /// All children are written before another request sees any of them, else they would seem to
  /// disagree; and writes of the same bytes come to all of them in the same order.
  RangeLock ranges_;
};

void QuorumStorage::readv(std::uint64_t host_offset, std::span<const iovec> into) {
  const std::uint64_t end = host_offset + total_bytes(into);
  {
    const Range range(ranges_, host_offset, end, RangeLock::Mode::shared);
    if (options_.read_pattern == QuorumReadPattern::fifo) {
      read_first(host_offset, into);
      return;
    }
    const bool is_unanimous = read_by_votes(host_offset, into, /*rewrites=*/false);
    if (is_unanimous || !options_.rewrite_corrupted) return;
  }
  // Rewriting must not undo a write, so nobody may be writing, and what was read may be old by now.
  const Range range(ranges_, host_offset, end, RangeLock::Mode::exclusive);
  read_by_votes(host_offset, into, /*rewrites=*/true);
}

/// The first child that can be read has the answer.
void QuorumStorage::read_first(std::uint64_t host_offset, std::span<const iovec> into) {
  QuorumErrors errors;
  for (const auto& child : children_) {
    if (errors.run([&] { child->readv(host_offset, into); })) return;
  }
  errors.raise_last();
}

/// Returns whether all children that could be read agree.
bool QuorumStorage::read_by_votes(std::uint64_t host_offset, std::span<const iovec> into,
                                  bool rewrites) {
  IovecCursor cursor(into);
  std::vector<Buffer> answers;
  QuorumErrors errors;
  QuorumVote vote;
  for (const auto& child : children_) {
    Buffer& answer = answers.emplace_back(cursor.remaining());
    const std::size_t voter = answers.size() - 1;
    if (errors.run([&] { child->read(host_offset, answer.span()); })) {
      vote.add(voter, answer.span());
    }
  }
  if (children_.size() - errors.count() < options_.vote_threshold) errors.raise();
  if (options_.blkverify) require_same(host_offset, vote);

  const QuorumVote::Version& winner = vote.winner();
  if (winner.voters.size() < options_.vote_threshold) {
    throw os_error(EIO, fmt::format("{}: read {} bytes at offset {}: too few children agree",
                                    name(), cursor.remaining(), host_offset));
  }
  cursor.copy_in(winner.content);
  if (rewrites) rewrite_losers(host_offset, vote);
  return vote.is_unanimous();
}

void QuorumStorage::require_same(std::uint64_t host_offset, const QuorumVote& vote) const {
  if (vote.is_unanimous()) return;
  const QuorumVote::Answer one = vote.versions()[0].content;
  const QuorumVote::Answer other = vote.versions()[1].content;
  const auto difference = std::ranges::mismatch(one, other).in1 - one.begin();
  const std::string message =
      fmt::format("quorum: offset={} bytes={} contents mismatch at offset {}", host_offset,
                  one.size(), host_offset + static_cast<std::uint64_t>(difference));
  if (options_.on_mismatch) options_.on_mismatch(message);
  throw Error(Errc::corrupt, message);
}

void QuorumStorage::rewrite_losers(std::uint64_t host_offset, const QuorumVote& vote) {
  const QuorumVote::Version& winner = vote.winner();
  for (const QuorumVote::Version& version : vote.versions()) {
    if (&version == &winner) continue;
    for (const std::size_t loser : version.voters) {
      // The answer is known; a child that cannot be put right goes on losing.
      QuorumErrors ignored;
      ignored.run([&] { children_[loser]->write(host_offset, winner.content); });
    }
  }
}

void QuorumStorage::writev(std::uint64_t host_offset, std::span<const iovec> from) {
  const Range range(ranges_, host_offset, host_offset + total_bytes(from),
                    RangeLock::Mode::exclusive);
  require_quorum([&](Storage& child) { child.writev(host_offset, from); });
}

bool QuorumStorage::write_zeroes(std::uint64_t host_offset, std::uint64_t length_bytes,
                                 ZeroOptions options) {
  const Range range(ranges_, host_offset, host_offset + length_bytes, RangeLock::Mode::exclusive);
  if (options.no_fallback) {
    // The first child speaks for all: once one has zeroes the others need them, fast or not.
    bool is_fast = true;
    QuorumErrors ignored;  // the request itself meets them again
    ignored.run(
        [&] { is_fast = children_.front()->write_zeroes(host_offset, length_bytes, options); });
    if (!is_fast) return false;
    options.no_fallback = false;
  }
  require_quorum([&](Storage& child) { child.write_zeroes(host_offset, length_bytes, options); });
  return true;
}

/// Of children that failed to grow with the others, the others know better.
std::uint64_t QuorumStorage::size() const {
  std::uint64_t largest = 0;
  for (const auto& child : children_) largest = std::max(largest, child->size());
  return largest;
}

std::uint64_t QuorumStorage::allocated_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& child : children_) sum += child->allocated_bytes();
  return sum;
}

/// A hole is what all children call one; anything else has to be put to the vote.
StorageExtent QuorumStorage::extent_at(std::uint64_t host_offset,
                                       std::uint64_t length_bytes) const {
  const std::uint64_t end = size();
  if (host_offset >= end) return {length_bytes, true};
  // Whoever knew of a hole would not read it, and nothing would be compared.
  if (options_.blkverify) return {std::min(length_bytes, end - host_offset), false};
  StorageExtent common{length_bytes, true};
  for (const auto& child : children_) {
    const StorageExtent extent = child->extent_at(host_offset, common.length_bytes);
    if (!extent.is_hole && common.is_hole) {
      common = {extent.length_bytes, false};
    } else if (extent.is_hole == common.is_hole) {
      common.length_bytes = std::min(common.length_bytes, extent.length_bytes);
    }
  }
  return common;
}

std::uint32_t QuorumStorage::alignment() const noexcept {
  std::uint32_t largest = 1;
  for (const auto& child : children_) largest = std::max(largest, child->alignment());
  return largest;
}

/// All are closed, whatever happens to some.
void QuorumStorage::close() {
  QuorumErrors errors;
  for (const auto& child : children_) {
    errors.run([&] { child->close(); });
  }
  if (errors.count() != 0) errors.raise();
}

Breakpoints* QuorumStorage::breakpoints() noexcept {
  for (const auto& child : children_) {
    if (Breakpoints* const breakpoints = child->breakpoints()) return breakpoints;
  }
  return nullptr;
}

void validate(const Children& children, const QuorumOptions& options) {
  const auto require = [](bool holds, const char* message) {
    if (!holds) throw Error(Errc::invalid_argument, message);
  };
  require(!children.empty(), "Number of provided children must be 1 or more");
  require(options.vote_threshold >= 1, "Parameter 'vote-threshold' expects a value >= 1");
  require(options.vote_threshold <= children.size(), "threshold may not exceed children count");
  if (options.read_pattern == QuorumReadPattern::quorum) {
    require(!options.blkverify || (children.size() == 2 && options.vote_threshold == 2),
            "blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
    require(!options.blkverify || !options.rewrite_corrupted,
            "rewrite-corrupted=on cannot be used with blkverify=on");
    const bool is_read_only =
        std::ranges::any_of(children, [](const auto& child) { return child->is_read_only(); });
    if (options.rewrite_corrupted && is_read_only) {
      throw Error(Errc::read_only, "Block node is read-only");
    }
  }
  for (const auto& child : children) {
    if (child->size() == children.front()->size()) continue;
    throw os_error(EIO, "Could not refresh total sector count");
  }
}

}  // namespace

std::unique_ptr<Storage> make_quorum_storage(std::vector<std::unique_ptr<Storage>> children,
                                             const QuorumOptions& options) {
  validate(children, options);
  return std::make_unique<QuorumStorage>(std::move(children), options);
}

}  // namespace qcowkit
