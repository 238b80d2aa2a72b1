// What --image-opts and "json:" names say of an image: "driver=qcow2,file.filename=x,...".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/json_text.h"
#include "cli/key_values.h"
#include "cli/secrets.h"
#include "qcowkit/options.h"

namespace qcowkit::cli {

/// The options of one image, read but not yet looked up.
struct ImageOptions {
  std::string driver;                    ///< empty: to be found out
  std::optional<std::string> own_path;   ///< "filename": the driver is the file's
  std::optional<std::string> file_path;  ///< "file.filename": the driver is the format's
  std::optional<std::string> key_secret;
  std::optional<std::string> encryption;  ///< what the image is said to be encrypted with

  std::uint64_t cache_bytes = 0;
  std::uint64_t l2_cache_bytes = 0;
  std::uint64_t refcount_cache_bytes = 0;
  DiscardPassThrough discard_pass_through = {};
  std::optional<std::string> overlap_template;
  std::uint32_t overlap_on = 0;
  std::uint32_t overlap_off = 0;

  bool read_only = false;
  bool force_share = false;
  bool without_locks = false;
  bool cache_direct = false;
  bool cache_no_flush = false;

  bool without_backing = false;           ///< "backing" is null
  std::shared_ptr<ImageOptions> backing;  ///< "backing.*"
  std::string first_backing_option;       ///< one of them, for messages

  /// True if "driver=file" asked for the bare file: it is read as raw.
  bool is_bare_file() const { return driver == "file"; }
  /// The format that the file is read as; empty: to be found out.
  std::string format() const { return is_bare_file() ? "raw" : driver; }
  /// The file's path, if it is given. Throws `Failure` if it is not given as the driver wants it.
  std::optional<std::string> path() const;

  /// Puts what is said into `options`. Throws `Failure` for a secret that is not there.
  void apply(const Secrets& secrets, OpenOptions& options) const;
};

/// Reads a list of options. Throws `Failure` for unknown ones and for malformed values.
ImageOptions parse_image_options(const std::vector<KeyValue>& list);

/// The options in the JSON text behind "json:". Throws `Failure`.
std::vector<KeyValue> parse_json_options(std::string_view text);

/// The option that names the passphrase of an image of `format`.
std::string key_secret_option(std::string_view format);

/// The name under which the reference shows an image that was opened with these options: the
/// file's, or a "json:" name if they change what is read.
std::string shown_name(const ImageOptions& options, const std::string& path,
                       const std::string& format);

}  // namespace qcowkit::cli
