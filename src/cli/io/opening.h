// How the I/O program opens images: the options that its command line and `open` share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/io/disk.h"
#include "cli/io/temporary_file.h"
#include "cli/open_arguments.h"
#include "qcowkit/node.h"
#include "qcowkit/options.h"

namespace qcowkit::cli::io {

struct Opening {
  std::optional<std::string> name;     ///< the file's name
  std::optional<std::string> format;   ///< -f
  std::optional<std::string> options;  ///< a list of options, with or instead of the name
  bool read_only = false;
  bool snapshot = false;  ///< what is written goes to a temporary file
  bool copy_on_read = false;
  bool force_share = false;
  bool native_aio = false;
  bool ignore_discards = false;
  CacheMode cache = CacheMode::writethrough;

  /// The value of -t. Throws `Failure`.
  void set_cache(const std::string& mode);
  /// The value of -d. Throws `Failure`.
  void set_discard(const std::string& mode);
  /// The value of -i. Requests are made by threads, whichever kind is asked for. Throws `Failure`.
  void set_aio(const std::string& mode);
};

/// An open image and the name by which it was opened.
struct OpenedDisk {
  ImageName name;
  std::unique_ptr<TemporaryFile> overlay;  ///< where what is written goes, with -s
  Disk disk;

  /// Throws `Failure`.
  void close();
};

/// Throws `Failure`: "can't open device NAME: ...".
std::unique_ptr<OpenedDisk> open_disk(const Opening& opening, const NodeObjects& objects,
                                      Console& console);

/// Lets the kernel's oldest way be used for the image's file, which has to be open past the cache.
/// All files are asked in one way here; what the reference would refuse is refused.
void ask_files_natively(NodeOptions& node);

}  // namespace qcowkit::cli::io
