// How the I/O program opens images: the options that its command line and `open` share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "qcowkit/image.h"

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
  CacheMode cache = CacheMode::writeback;

  /// The value of -t. Throws `Failure`.
  void set_cache(const std::string& mode);
  /// The value of -d. Throws `Failure`.
  void set_discard(const std::string& mode);
  /// The value of -i. Requests are made by threads, whichever kind is asked for. Throws `Failure`.
  void set_aio(const std::string& mode);
};

/// An image and how it was opened.
struct OpenDisk {
  Opening opening;
  ImageName name;
  std::unique_ptr<Image> image;

  /// Throws `Failure`.
  void close();
};

/// What `reopen` changes; what is not set stays.
struct Reopening {
  std::optional<bool> read_only;
  std::optional<CacheMode> cache;
  std::optional<std::string> options;  ///< a list of options
};

/// Throws `Failure`: "can't open device NAME: ...".
std::unique_ptr<OpenDisk> open_disk(const Opening& opening, const Secrets& secrets,
                                    Console& console);

/// The disk stays as it was if this throws `Failure`.
void reopen_disk(OpenDisk& disk, const Reopening& changes, const Secrets& secrets);

}  // namespace qcowkit::cli::io
