// Breakpoints under their tags, and whom they have stopped.
#include "cli/io/breakpoints.h"

#include <fmt/core.h>

#include <algorithm>
#include <ranges>
#include <set>

namespace qcowkit::cli::io {

std::string BreakpointTags::newly_stopped(Image& image) {
  const Breakpoints* breakpoints = image.storage().breakpoints();
  if (breakpoints == nullptr) return {};
  std::string text;
  std::set<std::string> known;
  for (const Tag& tag : tags_) {
    if (tag.has_stopped) known.insert(tag.name);
  }
  for (Tag& tag : std::views::reverse(tags_)) {
    if (tag.has_stopped || known.contains(tag.name) || !breakpoints->is_stopped(tag.name)) continue;
    tag.has_stopped = true;
    known.insert(tag.name);
    text += fmt::format("blkdebug: Suspended request '{}'\n", tag.name);
  }
  return text;
}

void BreakpointTags::let_go(const std::string& tag) {
  std::erase_if(tags_, [&](const Tag& each) { return each.has_stopped && each.name == tag; });
}

bool BreakpointTags::remove_waiting(const std::string& tag) {
  return std::erase_if(tags_,
                       [&](const Tag& each) { return !each.has_stopped && each.name == tag; }) > 0;
}

}  // namespace qcowkit::cli::io
