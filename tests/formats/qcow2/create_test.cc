// New images: no crash and no failure leaves one that only looks whole; devices and data files.
#include "formats/qcow2/create.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "formats/qcow2/header.h"
#include "qcowkit/error.h"
#include "storage/memory_storage.h"
#include "tests/formats/qcow2/create_fixture.h"
#include "tests/support/crash_storage.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::qcow2 {
namespace {

using test::is_same;
using test::name_of;
using test::options_of;

CreateOptions preallocated() {
  CreateOptions options = options_of(2 << 20);
  options.cluster_size_bytes = 4096;
  options.preallocation = Preallocation::metadata;
  return options;
}

/// What a crash left: no image, or the whole of it.
void expect_nothing_or_all(Storage& left, Storage& whole) {
  std::vector<std::byte> first(4096);
  left.read(0, first);
  if (!Header::probe(first)) return;
  EXPECT_TRUE(is_same(left, whole));
}

TEST(Create, CrashLeavesNoImageOrTheWhole) {
  const auto whole = make_memory_storage();
  create_image(*whole, nullptr, preallocated());
  MemoryStorage old;  // an image that is replaced
  create_image(old, nullptr, options_of(1 << 20));

  test::CrashDisk rehearsal(old);
  create_image(*rehearsal.open(), nullptr, preallocated());
  for (std::uint64_t n = 0; n <= rehearsal.power().changes(); ++n) {
    test::CrashDisk disk(old);
    disk.power().fail_after(n);
    EXPECT_THROW(create_image(*disk.open(), nullptr, preallocated()), Error);  // no last flush
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      SCOPED_TRACE(fmt::format("after {} changes, seed {}", n, seed));
      const auto left = disk.crash_image(seed);
      if (is_same(*left, old)) continue;  // the emptying was lost
      expect_nothing_or_all(*left, *whole);
    }
  }
}

TEST(Create, EveryFailureIsReportedAndLeavesNoImageThatLooksWhole) {
  const auto whole = make_memory_storage();
  create_image(*whole, nullptr, preallocated());
  for (std::uint64_t at = 1;; ++at) {
    const std::shared_ptr<Storage> behind = make_memory_storage();
    test::FaultStorage storage(behind);
    storage.plan().arm({.at = at, .errno_value = ENOSPC});
    try {
      create_image(storage, nullptr, preallocated());
      EXPECT_FALSE(storage.plan().has_fired());
      EXPECT_TRUE(is_same(*behind, *whole));
      EXPECT_GT(at, 4u);
      return;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), std::errc::no_space_on_device);
      expect_nothing_or_all(*behind, *whole);
    }
  }
}

/// A device: it has its size and its old content.
class Device final : public Storage {
 public:
  explicit Device(std::uint64_t size_bytes) : memory_(make_memory_storage("device")) {
    memory_->write(0, std::vector<std::byte>(size_bytes, std::byte{0xee}));
  }
  void readv(std::uint64_t o, std::span<const iovec> into) override { memory_->readv(o, into); }
  void writev(std::uint64_t o, std::span<const iovec> from) override { memory_->writev(o, from); }
  bool write_zeroes(std::uint64_t o, std::uint64_t n, ZeroOptions options) override {
    return memory_->write_zeroes(o, n, options);
  }
  void discard(std::uint64_t, std::uint64_t) override {}
  void flush() override {}
  void resize(std::uint64_t new_size_bytes, Preallocation) override {
    if (new_size_bytes > size()) throw os_error(ENOSPC, "device: resize");
  }
  std::uint64_t size() const override { return memory_->size(); }
  StorageExtent extent_at(std::uint64_t, std::uint64_t n) const override { return {n, false}; }
  bool can_grow() const noexcept override { return false; }
  bool is_read_only() const noexcept override { return false; }
  const std::string& name() const noexcept override { return memory_->name(); }
  void close() override {}

 private:
  std::unique_ptr<Storage> memory_;
};

TEST(Create, DeviceGetsTheSameBytesWhateverItHeld) {
  for (const Preallocation preallocation :
       {Preallocation::off, Preallocation::metadata, Preallocation::falloc, Preallocation::full}) {
    CreateOptions options = preallocated();
    options.preallocation = preallocation;
    const auto expected = make_memory_storage();
    create_image(*expected, nullptr, options);
    Device device(4 << 20);
    create_image(device, nullptr, options);
    std::vector<std::byte> theirs(expected->size());
    std::vector<std::byte> ours(expected->size());
    expected->read(0, theirs);
    device.read(0, ours);
    EXPECT_EQ(ours, theirs) << name_of(preallocation);
  }
}

TEST(Create, DeviceThatIsTooSmallIsLeftAsItWas) {
  Device device(1 << 20);
  try {
    create_image(device, nullptr, preallocated());
    FAIL() << "created";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), std::errc::no_space_on_device);
  }
  std::vector<std::byte> bytes(1 << 20);
  device.read(0, bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{0xee}), 1 << 20);
}

TEST(Create, DataFileIsEmptiedAndGetsTheDisksSize) {
  const auto storage = make_memory_storage();
  const auto data_file = make_memory_storage();
  data_file->write(0, std::vector<std::byte>(5 << 20, std::byte{1}));
  CreateOptions options = options_of(1 << 20);
  options.data_file = "data";
  create_image(*storage, data_file.get(), options);
  EXPECT_EQ(data_file->size(), 1u << 20);
  std::vector<std::byte> bytes(1 << 20);
  data_file->read(0, bytes);
  EXPECT_EQ(std::ranges::count(bytes, std::byte{0}), 1 << 20);
}

TEST(Create, FewWritesMakeManyTables) {
  const std::shared_ptr<Storage> behind = make_memory_storage();
  test::FaultStorage storage(behind);
  CreateOptions options = options_of(8 << 20);
  options.cluster_size_bytes = 512;
  options.preallocation = Preallocation::metadata;  // 256 L2 tables
  create_image(storage, nullptr, options);
  EXPECT_LT(storage.plan().count(test::kChanges), 20u);
}

}  // namespace
}  // namespace qcowkit::qcow2
