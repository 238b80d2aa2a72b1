// Ordered work on several threads: made in order, worked on in parallel, finished in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

namespace qcowkit {

/// How many workers `requested` means: 0 is as many as there are cores this process may use.
std::uint32_t worker_count(std::uint32_t requested) noexcept;

struct ParallelOptions {
  std::uint32_t workers = 0;  ///< threads at work, the caller's among them; see `worker_count`
  std::stop_token stop;
};

/// One parallel run over the slots 0 .. slot_count-1, each of which holds one item at a time.
struct SlotWork {
  std::function<bool(std::size_t slot)> produce;
  std::function<void(std::size_t slot)> process;
  std::function<bool(std::size_t slot)> consume;
};

/// How many slots `run_slots` needs: some more than workers, so that a worker whose item is not yet
/// its turn to be consumed can go on with another.
std::size_t slot_count(const ParallelOptions& options) noexcept;

/// What `parallel_for_ordered` is built on; use that.
void run_slots(const ParallelOptions& options, const SlotWork& work);

/// Takes a sequence of items through three steps:
///
///   produce(Item&) -> bool   fills the next item; false: there are no more. One at a time, in
///   order. process(Item&)           the heavy step: any number at a time, in any order.
///   consume(Item&) -> bool   finishes an item; false: the rest is not needed. One at a time, in
///   the
///                            order in which the items were produced.
///
/// The three run beside each other, on the caller's thread and `workers - 1` more (fewer where the
/// system gives no more threads; with one worker no thread is started and each item goes through
/// before the next one is produced). An `Item` is default-constructed once for each slot and used
/// again and again, so what it holds on to (buffers) is allocated once.
///
/// Returns when every item is consumed, or `consume` has returned false. An exception from any step
/// is rethrown once no step runs any more: that of the earliest item, all items before it consumed
/// and none behind it. Throws `Error` (cancelled) if a stop was requested before the end was
/// reached.
template <typename Item, typename Produce, typename Process, typename Consume>
void parallel_for_ordered(const ParallelOptions& options, Produce&& produce, Process&& process,
                          Consume&& consume) {
  std::vector<Item> items(slot_count(options));
  run_slots(options, {[&](std::size_t slot) -> bool { return produce(items[slot]); },
                      [&](std::size_t slot) { process(items[slot]); },
                      [&](std::size_t slot) -> bool { return consume(items[slot]); }});
}

}  // namespace qcowkit
