// Part of qcowkit. MIT licence; see LICENSE.
//
// What the engine tells of its own doings while it works: for tracing, for fault injection, for
// tests that want to stop a request at a certain point. Nobody listens unless asked to
// (`OpenOptions::listener`, `Storage::set_listener`). docs/events.md says when which event comes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qcowkit {

/// Points in the engine's work, each raised before what it names (but `flush_to_disk`,
/// `pwritev_done` and the `..._after_...`). Their names (`event_name`) are those that the reference
/// gives them, and their order is its own.
enum class Event : std::uint8_t {
  // L1 and L2 tables (qcow2 spec, Cluster mapping).
  l1_update,
  l1_grow_alloc_table,
  l1_grow_write_table,
  l1_grow_activate_table,
  l2_load,
  l2_update,
  l2_update_compressed,
  l2_alloc_cow_read,
  l2_alloc_write,
  // Guest data, and the machine state behind it.
  read_aio,
  read_backing_aio,
  read_compressed,
  write_aio,
  write_compressed,
  vmstate_load,
  vmstate_save,
  cow_read,
  cow_write,
  // The refcount table and its blocks (qcow2 spec, Host cluster management).
  reftable_load,
  reftable_grow,
  reftable_update,
  refblock_load,
  refblock_update,
  refblock_update_part,
  refblock_alloc,
  refblock_alloc_hookup,
  refblock_alloc_write,
  refblock_alloc_write_blocks,
  refblock_alloc_write_table,
  refblock_alloc_switch_table,
  // Host clusters.
  cluster_alloc,
  cluster_alloc_bytes,
  cluster_free,
  // Flushes: tables on their way to the file, everything durable.
  flush_to_os,
  flush_to_disk,
  // Writes as they reach the file, with what is read around unaligned ones.
  pwritev_rmw_head,
  pwritev_rmw_after_head,
  pwritev_rmw_tail,
  pwritev_rmw_after_tail,
  pwritev,
  pwritev_zero,
  pwritev_done,
  // An image that is emptied or shrunk; copies on reads.
  empty_image_prepare,
  l1_shrink_write_table,
  l1_shrink_free_l2_clusters,
  cor_write,
  cluster_alloc_space,
};

inline constexpr std::size_t kEventCount = static_cast<std::size_t>(Event::cluster_alloc_space) + 1;

/// "l2_load", "l1_grow_alloc_table", ...
std::string_view event_name(Event event) noexcept;
/// The inverse; nothing for a name that no event has.
std::optional<Event> find_event(std::string_view name) noexcept;

/// Who listens. Called by the thread that does the work, at the point that the event names and
/// without a lock that look-ups need: a listener that blocks stops this request, and others only
/// where they wait for it. It may be called by any number of threads at once, must not throw, and
/// must not use the image that calls it.
class EventListener {
 public:
  virtual ~EventListener() = default;
  EventListener() = default;
  EventListener(const EventListener&) = delete;
  EventListener& operator=(const EventListener&) = delete;

  /// `offset` and `length_bytes` say what is worked on, in bytes: of what is written to or read
  /// from the file (tables, clusters, pwritev...), host offsets; of the guest's requests (read_aio,
  /// write_aio, cow_read...), guest offsets. 0 where there is nothing to say.
  virtual void on_event(Event event, std::uint64_t offset, std::uint64_t length_bytes) noexcept = 0;
};

/// Stops requests at events, for tests that want a certain order. Thread-safe, as it has to be: who
/// sets breakpoints runs beside the requests that stop at them. A storage that has them (the driver
/// "blkdebug") tells so by `Storage::breakpoints`.
class Breakpoints {
 public:
  virtual ~Breakpoints() = default;
  Breakpoints() = default;
  Breakpoints(const Breakpoints&) = delete;
  Breakpoints& operator=(const Breakpoints&) = delete;

  /// The next request that comes to `event` stops there under the name `tag`.
  virtual void set(Event event, std::string_view tag) = 0;
  /// Forgets the breakpoints of this name and lets go whoever is stopped at one; false: there are
  /// none.
  virtual bool remove(std::string_view tag) = 0;
  /// Lets the request that is stopped under this name go on; false: there is none.
  virtual bool resume(std::string_view tag) = 0;
  /// True while a request is stopped under this name.
  virtual bool is_stopped(std::string_view tag) const = 0;
  /// Returns as soon as a request is stopped under this name, however long that takes.
  virtual void wait_until_stopped(std::string_view tag) = 0;
};

}  // namespace qcowkit
