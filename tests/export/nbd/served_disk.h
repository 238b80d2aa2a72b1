// A server in this process, with a disk in memory.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "qcowkit/nbd.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::nbd::test {

/// A writable image in memory.
inline std::unique_ptr<Image> memory_image(const std::string& format, std::uint64_t size_bytes,
                                           std::unique_ptr<Storage> storage = nullptr) {
  if (!storage) storage = make_memory_storage();
  CreateOptions options;
  options.format = format;
  options.size_bytes = size_bytes;
  Image::create(*storage, options);
  OpenOptions open;
  open.format = format;
  open.read_only = false;
  return Image::open(std::move(storage), open);
}

/// What a server has told of itself.
class Diary {
 public:
  void note(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  std::size_t count(const std::string& beginning) const {
    const std::lock_guard lock(mutex_);
    return count_locked(beginning);
  }
  /// True once so many lines begin like this; false after 20 seconds.
  bool wait_for(const std::string& beginning, std::size_t how_many = 1) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return count_locked(beginning) >= how_many; });
  }

 private:
  std::size_t count_locked(const std::string& beginning) const {
    std::size_t found = 0;
    for (const std::string& line : lines_) found += line.starts_with(beginning);
    return found;
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::string> lines_;
};

/// Serves `image` at `socket()` from its construction on.
class ServedDisk {
 public:
  explicit ServedDisk(std::unique_ptr<Image> served, NbdExport disk = {},
                      NbdServerOptions options = {})
      : image(std::move(served)), server(with_diary(std::move(options))) {
    disk.image = image.get();
    server.add_export(std::move(disk));
    std::vector<NbdSocket> listening;
    listening.push_back(nbd_listen_unix(socket()));
    server.start(std::move(listening));
  }

  std::string socket() const { return dir.file("socket"); }
  std::string uri(const std::string& name = "") const {
    return "nbd+unix:///" + name + "?socket=" + socket();
  }

  const qcowkit::test::TempDir dir;
  const std::unique_ptr<Image> image;
  Diary diary;
  NbdServer server;

 private:
  NbdServerOptions with_diary(NbdServerOptions options) {
    options.on_connect = [this](const NbdClient& client) {
      diary.note("connect " + client.export_name);
    };
    options.on_disconnect = [this](const NbdClient& client) {
      diary.note("disconnect " + client.export_name);
    };
    options.on_last_disconnect = [this] { diary.note("last"); };
    options.on_problem = [this](const std::string& problem) { diary.note("problem " + problem); };
    return options;
  }
};

}  // namespace qcowkit::nbd::test
