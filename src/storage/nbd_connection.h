// One connection to an NBD server, shared by many threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "storage/nbd_library.h"
#include "storage/nbd_storage.h"
#include "storage/nbd_tls_relay.h"

namespace qcowkit {

/// One request on its way. Offsets are of the export, in bytes.
struct NbdRequest {
  enum class Kind : std::uint8_t { read, write, flush, trim, zero, status };
  Kind kind = Kind::read;
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
  std::byte* bytes = nullptr;  ///< to read into, or to write from (not changed then)
  std::uint32_t flags = 0;     ///< LIBNBD_CMD_FLAG_...
  /// status: pairs of a length in bytes and LIBNBD_STATE_... flags, from `offset` on.
  std::vector<std::uint32_t> status = {};

 private:
  friend class NbdConnection;
  /// A part of what is read has come.
  void note(std::uint64_t part_offset, std::uint64_t part_bytes);
  /// Every byte has come that is read. libnbd does not look whether the server has sent them all.
  bool is_covered();

  void* batch_ = nullptr;
  std::uint64_t covered_bytes_ = 0;  ///< from `offset` on, without a gap
  /// Parts that came before what lies in front of them: where they begin and end.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ahead_ = {};
};

/// What the server says of the export.
struct NbdFacts {
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes_min = 1;
  std::uint64_t payload_bytes_max = 32 << 20;
  bool is_read_only = false;
  bool can_flush = false;
  bool can_trim = false;
  bool can_zero = false;
  bool can_fast_zero = false;
  bool can_multi_conn = false;
  bool has_status = false;  ///< the server tells of `NbdClientOptions::meta_context`
};

/// Thread-safe. A thread whose requests are under way either waits on the socket for all, or sleeps
/// until they are answered or that thread has left: so nothing is handed over while only one is
/// there.
class NbdConnection {
 public:
  /// Connects. Throws `Error`.
  explicit NbdConnection(const NbdClientOptions& options);
  ~NbdConnection();
  NbdConnection(const NbdConnection&) = delete;
  NbdConnection& operator=(const NbdConnection&) = delete;

  const NbdFacts& facts() const noexcept { return facts_; }

  /// Sends all of the requests and waits for their answers. Returns 0 or the first errno; ENOTCONN:
  /// the connection is lost, and nobody knows what became of them.
  int run(std::span<NbdRequest> requests) EXCLUDES(mutex_);
  bool is_lost() EXCLUDES(mutex_);
  /// How many requests are under way.
  std::size_t in_flight() EXCLUDES(mutex_);
  /// Says good-bye, with nothing under way.
  void disconnect() EXCLUDES(mutex_);

 private:
  /// The requests of one call of `run`.
  struct Batch {
    std::size_t left = 0;
    int error = 0;
    bool is_asleep = false;
    CondVar woken;
  };

  void connect(const NbdClientOptions& options);
  void ask_facts(const NbdClientOptions& options);
  int submit(NbdRequest& request) REQUIRES(mutex_);
  void sleep(Batch& batch) REQUIRES(mutex_);
  void wait_on_socket() REQUIRES(mutex_);
  void notice_loss() REQUIRES(mutex_);
  void wake_another() REQUIRES(mutex_);
  void interrupt_waiter() noexcept;

  // Called by libnbd, in calls that hold the mutex.
  static int on_part(void* request, const void* bytes, std::size_t count, std::uint64_t offset,
                     unsigned status, int* error);
  static int on_answer(void* user_data, int* error);
  static int on_status(void* user_data, const char* context, std::uint64_t offset,
                       std::uint32_t* entries, std::size_t count, int* error);

  // Constant after construction.
  const NbdLibrary& nbd_;
  std::unique_ptr<NbdTlsRelay> relay_;
  nbd_handle* handle_ = nullptr;
  int wake_fd_ = -1;  ///< an event that ends the wait on the socket
  NbdFacts facts_;

  Mutex mutex_;
  std::vector<Batch*> sleepers_ GUARDED_BY(mutex_);
  std::size_t in_flight_ GUARDED_BY(mutex_) = 0;
  bool has_waiter_ GUARDED_BY(mutex_) = false;  ///< a thread waits on the socket, without the mutex
  bool is_lost_ GUARDED_BY(mutex_) = false;
};

}  // namespace qcowkit
