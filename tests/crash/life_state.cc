// What an image holds as a whole.
#include "tests/crash/life_state.h"

#include <fmt/core.h>

#include <algorithm>

#include "formats/qcow2/qcow2_layer.h"
#include "formats/qcow2/snapshots.h"

namespace qcowkit::test {

namespace {

constexpr std::size_t kVmStateBytes = 8192;

LifeState::Snapshot read_snapshot_state(const Shape& shape, const ImageFiles& files,
                                        const qcow2::Header& header,
                                        const qcow2::SnapshotEntry& entry) {
  qcow2::LayerOptions options;
  OpenedImage view(shape,
                   std::make_unique<qcow2::Qcow2Layer>(
                       share(files.image), nullptr,
                       qcow2::header_of_snapshot(header, *files.image, {entry.id, {}}), options));
  LifeState::Snapshot snapshot{entry.name, view.read_all(), {}};
  snapshot.vm_state.resize(kVmStateBytes);
  view.layer().read_vm_state(0, snapshot.vm_state);
  return snapshot;
}

std::string summary(const LifeState& state) {
  std::string text = fmt::format("{} bytes, backing file '{}' ({}), snapshots:", state.disk.size(),
                                 state.backing_file, state.backing_format);
  for (const LifeState::Snapshot& snapshot : state.snapshots) {
    text += fmt::format(" '{}' of {} bytes", snapshot.name, snapshot.disk.size());
  }
  return text;
}

std::string difference(const char* than, const LifeState& found, const LifeState& expected) {
  if (summary(found) != summary(expected)) {
    return fmt::format("\n  {}: {}", than, summary(expected));
  }
  const auto place = std::ranges::mismatch(found.disk, expected.disk);
  if (place.in1 != found.disk.end()) {
    return fmt::format("\n  {}: byte {:#x} of the disk is {:#x}, not {:#x}", than,
                       place.in1 - found.disk.begin(), static_cast<unsigned>(*place.in1),
                       static_cast<unsigned>(*place.in2));
  }
  return fmt::format("\n  {}: a snapshot differs", than);
}

}  // namespace

LifeState read_state(const Shape& shape, const ImageFiles& files) {
  LifeState state;
  state.disk = OpenedImage(shape, files, OpenedImage::Mode::read_only).read_all();
  const qcow2::Header header = qcow2::Qcow2Layer::read_header(*files.image);
  state.backing_file = header.backing_file;
  state.backing_format = header.backing_format.value_or("");
  for (const auto& entry : qcow2::read_snapshot_table(*files.image, header).entries) {
    state.snapshots.push_back(read_snapshot_state(shape, files, header, entry));
  }
  return state;
}

std::optional<std::string> neither(const LifeState& found, const LifeState& before,
                                   const LifeState& after) {
  if (found == before || found == after) return std::nullopt;
  return fmt::format("the image is a mixture: {}", summary(found)) +
         difference("before", found, before) + difference("after", found, after);
}

std::optional<std::string> corruption_in(const Shape& shape, const ImageFiles& files) {
  const CheckReport report = OpenedImage(shape, files, OpenedImage::Mode::check).check();
  const bool is_version_2 = qcow2::Qcow2Layer::read_header(*files.image).version == 2;
  const auto is_serious = [&](const std::string& message) {
    const bool is_leak = message.starts_with("Leaked");
    const bool is_flag = message.find("OFLAG_COPIED") != std::string::npos;
    return !is_leak && !(is_version_2 && is_flag);
  };
  const bool only_flags =
      is_version_2 && report.check_errors == 0 && std::ranges::none_of(report.messages, is_serious);
  if ((report.corruptions == 0 && report.check_errors == 0) || only_flags) return std::nullopt;
  return describe(report);
}

bool is_marked_dirty(const ImageFiles& files) {
  return qcow2::Qcow2Layer::read_header(*files.image).has(qcow2::incompatible::kDirty);
}

}  // namespace qcowkit::test
