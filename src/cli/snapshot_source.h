// A source of data that may be one of an image's snapshots.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// What is wrong is the snapshot, or how it was asked for, and not the image.
class SnapshotFailure : public Failure {
 public:
  explicit SnapshotFailure(const Failure& failure) : Failure(failure) {}
};

/// Throws `SnapshotFailure` if `text` is no value that -l may have, and nothing has to be warned of
/// first.
void check_snapshot(const std::string& text);

/// Opens the image, or what `snapshot`, the value of -l, says of it: "snapshot.id=ID",
/// "snapshot.name=NAME", both, or a text that is either. Warns of words without a value. Throws
/// `Failure`.
std::unique_ptr<Image> open_source(const ImageName& name, const Secrets& secrets,
                                   OpenOptions options, const std::optional<std::string>& snapshot,
                                   Console& console);

}  // namespace qcowkit::cli
