// The driver "preallocate".
#include "storage/preallocate_storage.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "storage/forwarding_storage.h"
#include "tests/support/errors.h"

namespace qcowkit {
namespace {

using Bytes = std::vector<std::byte>;
constexpr PreallocateOptions kOptions{.align_bytes = 4096, .size_bytes = 100'000};

/// A preallocating storage and what it grows.
struct Subject {
  explicit Subject(std::unique_ptr<Storage> behind = make_memory_storage()) : child(behind.get()) {
    filter = make_preallocate_storage(std::move(behind), kOptions);
  }
  Storage* child;
  std::unique_ptr<Storage> filter;
};

/// Refuses to allocate.
class FullStorage final : public ForwardingStorage {
 public:
  using ForwardingStorage::ForwardingStorage;
  void resize(std::uint64_t new_size_bytes, Preallocation preallocation) override {
    if (preallocation == Preallocation::falloc) throw os_error(ENOSPC, "resize");
    ForwardingStorage::resize(new_size_bytes, preallocation);
  }
};

TEST(PreallocateStorage, GrowsAheadOfAWriteAndGivesBackWhenClosed) {
  Subject subject;
  subject.filter->write(0, Bytes(5000, std::byte{1}));
  EXPECT_EQ(subject.filter->size(), 5000U);
  EXPECT_EQ(subject.child->size(), 106'496U);  // 5000 + 100000, to a multiple of 4096
  subject.filter->write(5000, Bytes(1000, std::byte{1}));
  EXPECT_EQ(subject.child->size(), 106'496U);
  EXPECT_TRUE(subject.filter->extent_at(6000, 10).is_hole);
  subject.filter->close();
  EXPECT_EQ(subject.child->size(), 6000U);
}

TEST(PreallocateStorage, WriteInsideDoesNotGrow) {
  auto child = make_memory_storage();
  child->resize(10'000, Preallocation::off);
  Subject subject(std::move(child));
  subject.filter->write(9000, Bytes(1000));
  EXPECT_EQ(subject.child->size(), 10'000U);
}

TEST(PreallocateStorage, ZeroesPastTheEndBelongToTheSize) {
  Subject subject;
  subject.filter->write(0, Bytes(100, std::byte{1}));
  EXPECT_TRUE(subject.filter->write_zeroes(50, 1000, {.no_fallback = true}));
  EXPECT_EQ(subject.filter->size(), 1050U);
  Bytes bytes(100, std::byte{0xee});
  subject.filter->read(50, bytes);
  EXPECT_EQ(bytes, Bytes(100, std::byte{0}));
}

TEST(PreallocateStorage, ResizeIsExact) {
  Subject subject;
  subject.filter->write(0, Bytes(5000));
  subject.filter->resize(3000, Preallocation::off);
  EXPECT_EQ(subject.filter->size(), 3000U);
  EXPECT_EQ(subject.child->size(), 3000U);
  subject.filter->resize(9000, Preallocation::full);
  EXPECT_EQ(subject.child->size(), 9000U);
}

TEST(PreallocateStorage, WithoutSpaceToAllocateItGrowsAsFarAsIsNeeded) {
  Subject subject(std::make_unique<FullStorage>(make_memory_storage()));
  subject.filter->write(0, Bytes(5000, std::byte{1}));
  subject.filter->write(5000, Bytes(10, std::byte{1}));
  EXPECT_EQ(subject.child->size(), 5010U);
}

TEST(PreallocateStorage, SizeIsThatOfTheLastOfManyWriters) {
  Subject subject;
  constexpr unsigned kThreads = 4;
  constexpr unsigned kWrites = 200;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned step = 0; step < kWrites; ++step) {
        subject.filter->write((step * kThreads + i) * std::uint64_t{1000},
                              Bytes(1000, static_cast<std::byte>(i + 1)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(subject.filter->size(), kThreads * kWrites * 1000U);
  subject.filter->close();
  ASSERT_EQ(subject.child->size(), kThreads * kWrites * 1000U);
  Bytes bytes(1000);
  for (unsigned unit = 0; unit < kThreads * kWrites; ++unit) {
    subject.child->read(unit * std::uint64_t{1000}, bytes);
    ASSERT_EQ(bytes, Bytes(1000, static_cast<std::byte>(unit % kThreads + 1)));
  }
}

TEST(PreallocateStorage, AlignmentOfNoSectorIsRefused) {
  const Error error = test::error_of(
      [] { make_preallocate_storage(make_memory_storage(), {.align_bytes = 1000}); });
  EXPECT_EQ(error.message(),
            "prealloc-align parameter of preallocate filter is not aligned to 512");
}

}  // namespace
}  // namespace qcowkit
