// A source of data that may be one of an image's snapshots.
#include "cli/snapshot_source.h"

#include <fmt/core.h>

#include <algorithm>

#include "cli/failure.h"
#include "cli/key_values.h"

namespace qcowkit::cli {

namespace {

/// `console`: where words without a value are warned of; null: they are not read on.
SnapshotSelector parse_selector(const std::string& text, Console* console) {
  if (!text.starts_with("snapshot.")) return SnapshotSelector::id_or_name(text);
  SnapshotSelector selector;
  for (const auto& [key, value, is_short] : parse_key_values(text)) {
    if (is_short && console == nullptr) break;
    if (is_short) {
      console->error(
          fmt::format("warning: short-form boolean option '{0}' deprecated\n"
                      "Please use {0}={1} instead",
                      key, value));
    }
    if (key == "snapshot.id") {
      selector.id = value;
    } else if (key == "snapshot.name") {
      selector.name = value;
    } else {
      throw SnapshotFailure(Failure::of_lines(
          fmt::format("Invalid parameter '{}'\nFailed in parsing snapshot param '{}'", key, text)));
    }
  }
  return selector;
}

bool has_snapshot(const Image& image, const SnapshotSelector& which) {
  return std::ranges::any_of(image.snapshots(), [&](const SnapshotInfo& snapshot) {
    const bool id_fits = snapshot.id == which.id;
    const bool name_fits = snapshot.name == which.name;
    if (which.either) return id_fits || name_fits;
    return (which.id.empty() || id_fits) && (which.name.empty() || name_fits);
  });
}

/// Says of an image that can be opened why its snapshot cannot.
void require_snapshot(const Image& image, const SnapshotSelector& which) {
  bool is_there = false;
  try {
    is_there = !which.empty() && has_snapshot(image, which);
  } catch (const Error& e) {
    if (e.code() != make_error_code(Errc::unsupported)) throw;
    throw SnapshotFailure(Failure(
        fmt::format("Failed to load snapshot: Block format '{}' used by device '' does not support "
                    "temporarily loading internal snapshots",
                    image.format())));
  }
  if (!is_there) throw SnapshotFailure(Failure("Failed to load snapshot: Can't find snapshot"));
}

}  // namespace

void check_snapshot(const std::string& text) { parse_selector(text, nullptr); }

std::unique_ptr<Image> open_source(const ImageName& name, const Secrets& secrets,
                                   OpenOptions options, const std::optional<std::string>& snapshot,
                                   Console& console) {
  if (!snapshot) return open_image(name, secrets, options);
  const SnapshotSelector which = parse_selector(*snapshot, &console);
  const auto require_in_image = [&] {
    require_snapshot(*open_image(name, secrets, options), which);
  };
  if (which.empty()) require_in_image();
  OpenOptions of_snapshot = options;
  of_snapshot.snapshot = which;
  try {
    return open_image(name, secrets, of_snapshot);
  } catch (const Failure&) {
    require_in_image();
    throw;
  }
}

}  // namespace qcowkit::cli
