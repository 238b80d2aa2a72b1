// The engine's events and their names.
#include "qcowkit/events.h"

#include <gtest/gtest.h>

#include <set>

namespace qcowkit {
namespace {

TEST(Events, EveryEventHasANameThatFindsIt) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kEventCount; ++i) {
    const auto event = static_cast<Event>(i);
    EXPECT_FALSE(event_name(event).empty()) << i;
    EXPECT_EQ(find_event(event_name(event)), event) << event_name(event);
    names.insert(event_name(event));
  }
  EXPECT_EQ(names.size(), kEventCount);
}

TEST(Events, NamesAreThoseOfTheReference) {
  EXPECT_EQ(event_name(Event::l1_grow_alloc_table), "l1_grow_alloc_table");
  EXPECT_EQ(event_name(Event::refblock_alloc_switch_table), "refblock_alloc_switch_table");
  EXPECT_EQ(event_name(Event::pwritev_rmw_after_tail), "pwritev_rmw_after_tail");
}

TEST(Events, UnknownNamesFindNothing) {
  EXPECT_FALSE(find_event(""));
  EXPECT_FALSE(find_event("l2_lo"));
  EXPECT_FALSE(find_event("none"));
}

}  // namespace
}  // namespace qcowkit
