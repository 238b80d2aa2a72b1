// What the parts of a check share: the image, what the caller asked for, and what was found.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "formats/qcow2/header.h"
#include "qcowkit/image.h"
#include "qcowkit/storage.h"

namespace qcowkit::qcow2 {

/// The stages of a check, each a share of the progress that the caller sees.
struct CheckStage {
  double begin;
  double end;
};

/// One check of one image. Not thread-safe.
class CheckContext {
 public:
  CheckContext(Storage& image_storage, const Header& image_header,
               const CheckOptions& check_options)
      : storage(image_storage),
        header(image_header),
        geometry(image_header.geometry()),
        options(check_options) {
    measure();
  }

  Storage& storage;
  Header header;  ///< as the repair has left it
  const Geometry geometry;
  const CheckOptions& options;
  std::uint64_t file_bytes = 0;
  std::uint64_t file_clusters = 0;  ///< the last one may be cut off by the file's end

  /// Takes the file's size anew.
  void measure() {
    file_bytes = storage.size();
    file_clusters = geometry.clusters_for(file_bytes);
  }

  /// Adds a line to the messages, unless there are enough of them.
  template <typename... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    if (messages.size() >= CheckReport::kMessagesMax) return;
    messages.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  /// Throws `Error` (cancelled) if the caller wants an end; reports how much of a stage is done.
  void poll(const CheckStage& stage, double fraction_of_stage) {
    if (options.stop.stop_requested()) throw Error(Errc::cancelled, "check: cancelled");
    const double of_look =
        stage.begin + (stage.end - stage.begin) * std::min(fraction_of_stage, 1.0);
    const double now = look_.begin + (look_.end - look_.begin) * of_look;
    if (!options.progress || now < progress_ + kProgressStep) return;
    progress_ = now;
    options.progress(now);
  }

  /// What part of the whole work the stages from now on are.
  void set_look(const CheckStage& look) noexcept { look_ = look; }

  std::vector<std::string> messages;

 private:
  static constexpr double kProgressStep = 0.001;
  CheckStage look_{0.0, 1.0};
  double progress_ = 0;
};

}  // namespace qcowkit::qcow2
