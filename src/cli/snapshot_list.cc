// The table of an image's snapshots.
#include "cli/snapshot_list.h"

#include <fmt/core.h>

#include <array>
#include <ctime>
#include <iterator>

#include "base/units.h"

namespace qcowkit::cli {

namespace {

std::string local_time(std::uint32_t seconds) {
  const std::time_t time = seconds;
  std::tm parts = {};
  std::array<char, 32> text = {};
  ::localtime_r(&time, &parts);
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return text.data();
}

/// `text` and blanks behind it up to `width` bytes, as the reference counts columns.
std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

/// Hours, minutes, seconds and milliseconds.
std::string clock_text(std::uint64_t nanoseconds) {
  const std::uint64_t milliseconds = nanoseconds / 1'000'000;
  const std::uint64_t seconds = milliseconds / 1000;
  return fmt::format("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                     milliseconds % 1000);
}

}  // namespace

std::string snapshot_list_text(const std::vector<SnapshotInfo>& snapshots) {
  std::string out;
  if (snapshots.empty()) return out;
  const auto append = std::back_inserter(out);
  out += "Snapshot list:\n";
  fmt::format_to(append, "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE", "DATE",
                 "VM CLOCK", "ICOUNT");
  for (const SnapshotInfo& snapshot : snapshots) {
    fmt::format_to(append, "{} {} {:>8}{:>20}{:>13}{:>11}\n", padded(snapshot.id, 9),
                   padded(snapshot.name, 16), human_size(snapshot.vm_state_size_bytes),
                   local_time(snapshot.date_seconds), clock_text(snapshot.vm_clock_nanoseconds),
                   snapshot.icount ? std::to_string(*snapshot.icount) : "");
  }
  return out;
}

}  // namespace qcowkit::cli
