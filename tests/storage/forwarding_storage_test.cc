// A storage that hands everything on.
#include "storage/forwarding_storage.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "storage/memory_storage.h"

namespace qcowkit {
namespace {

class CountingListener final : public EventListener {
 public:
  void on_event(Event, std::uint64_t, std::uint64_t) noexcept override { ++count; }
  int count = 0;
};

/// Keeps its own listener, as one that injects faults does.
class ListeningStorage final : public ForwardingStorage {
 public:
  ListeningStorage(std::unique_ptr<Storage> child, EventListener& own)
      : ForwardingStorage(std::move(child)) {
    Storage::set_listener(&own);
  }
  void set_listener(EventListener*) noexcept override {}
};

TEST(ForwardingStorage, EventsAreHeardByTheChildsListener) {
  CountingListener listener;
  auto child = make_memory_storage();
  child->set_listener(&listener);
  const ForwardingStorage filter(std::move(child));
  filter.raise(Event::l2_load);
  EXPECT_EQ(listener.count, 1);
}

TEST(ForwardingStorage, NewListenerDoesNotDisplaceThatOfAChildWithItsOwn) {
  CountingListener own;
  CountingListener later;
  ForwardingStorage filter(std::make_unique<ListeningStorage>(make_memory_storage(), own));
  filter.set_listener(&later);
  filter.raise(Event::l2_load);
  EXPECT_EQ(own.count, 1);
  EXPECT_EQ(later.count, 0);
}

TEST(ForwardingStorage, CopiesAreNotOffloadedPastTheFilter) {
  ForwardingStorage filter(make_memory_storage());
  const auto source = make_memory_storage();
  source->write(0, std::vector<std::byte>(4096, std::byte{1}));
  EXPECT_EQ(filter.copy_from(*source, 0, 0, 4096), 0U);
  EXPECT_EQ(filter.size(), 0U);
}

}  // namespace
}  // namespace qcowkit
