#include "tests/storage/storage_subjects.h"

#include <filesystem>
#include <utility>

#include "storage/blkdebug.h"
#include "storage/blkverify_storage.h"
#include "storage/block_aligned_storage.h"
#include "storage/preallocate_storage.h"
#include "storage/throttle_storage.h"
#include "storage/window_storage.h"
#include "tests/support/fault_storage.h"

namespace qcowkit::test {

namespace {

SubjectMaker file_maker(const std::string& name, const std::string& parent, CacheMode cache) {
  const bool waits = cache == CacheMode::writethrough || cache == CacheMode::directsync;
  return {name, waits ? 100 : 500, [parent, cache] {
            Subject subject;
            subject.folder = std::make_unique<TempDir>(
                parent.empty() ? std::filesystem::temp_directory_path().string() : parent);
            FileOptions options;
            options.create = true;
            options.cache = cache;
            subject.storage = open_file(subject.folder->file("image"), options);
            return subject;
          }};
}

/// A filter over a file.
SubjectMaker filter_maker(
    const std::string& name,
    std::function<std::unique_ptr<Storage>(std::unique_ptr<Storage>)> filter) {
  return {name, 500, [filter] {
            Subject subject;
            subject.folder =
                std::make_unique<TempDir>(std::filesystem::temp_directory_path().string());
            FileOptions options;
            options.create = true;
            subject.storage = filter(open_file(subject.folder->file("image"), options));
            return subject;
          }};
}

std::unique_ptr<Storage> throttled(std::unique_ptr<Storage> child) {
  ThrottleLimits limits;
  limits.bps_total.average = 1'000'000'000'000;
  return make_throttle_storage(std::move(child), std::make_shared<ThrottleGroup>("group", limits));
}

std::unique_ptr<Storage> window_of(std::unique_ptr<Storage> child) {
  child->resize(1024, Preallocation::off);
  return make_window_storage(std::move(child), {.offset_bytes = 1024});
}

}  // namespace

std::vector<SubjectMaker> subject_makers() {
  std::vector<SubjectMaker> all{
      {"Memory", 2000,
       [] {
         return Subject{nullptr, nullptr, make_memory_storage()};
       }},
      {"Faultless", 2000,
       [] {
         return Subject{nullptr, nullptr, std::make_unique<FaultStorage>(make_memory_storage())};
       }},
      {"CrashDisk", 2000,
       [] {
         Subject subject;
         subject.disk = std::make_unique<CrashDisk>();
         subject.storage = subject.disk->open();
         return subject;
       }},
      file_maker("Writeback", "", CacheMode::writeback),
      file_maker("None", "", CacheMode::none),
      file_maker("Writethrough", "", CacheMode::writethrough),
      file_maker("Directsync", "", CacheMode::directsync),
      file_maker("Unsafe", "", CacheMode::unsafe),
  };
  all.push_back(filter_maker("Throttled", throttled));
  all.push_back(filter_maker("Window", window_of));
  all.push_back(filter_maker("Verified", [](std::unique_ptr<Storage> child) {
    return make_blkverify_storage(std::move(child), make_memory_storage());
  }));
  all.push_back(filter_maker("Preallocated", [](std::unique_ptr<Storage> child) {
    return make_preallocate_storage(std::move(child), {.align_bytes = 4096, .size_bytes = 100'000});
  }));
  all.push_back(filter_maker("BlockAligned", [](std::unique_ptr<Storage> child) {
    return make_block_aligned_storage(std::move(child), 4096);
  }));
  all.push_back(filter_maker("Blkdebug", [](std::unique_ptr<Storage> child) {
    return make_blkdebug(std::move(child), {.align = 512, .max_transfer = 8192});
  }));
  if (std::filesystem::is_directory("/dev/shm")) {
    all.push_back(file_maker("SharedMemoryWriteback", "/dev/shm", CacheMode::writeback));
    all.push_back(file_maker("SharedMemoryNone", "/dev/shm", CacheMode::none));
  }
  return all;
}

}  // namespace qcowkit::test
