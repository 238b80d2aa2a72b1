// The -o options of a new image: printing and applying them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cli/encryption_arguments.h"
#include "cli/option_values.h"
#include "cli/secrets.h"
#include "qcowkit/image.h"

namespace qcowkit::cli {

/// "off", "falloc" and so on; nothing for what is no mode.
std::optional<Preallocation> parse_preallocation(std::string_view text);

/// The -o options of one command, checked against the format.
class CreateArguments : public OptionValues {
 public:
  /// Reads `list`. Throws `Failure` for an unknown format or option and for a malformed value.
  CreateArguments(std::string format, std::string_view list);

  const std::string& format() const noexcept { return format_; }
  /// The value of -o size.
  std::optional<std::uint64_t> size_bytes() const { return number("size"); }
  /// The value of -o compression_level, which no image stores: it is for commands that compress.
  int compression_level() const;

  /// "fmt=qcow2 cluster_size=65536 ...": every option that is given or has a default.
  std::string summary() const;

  /// What `Image::create` is told. Throws `Failure` for a value that it knows no meaning of.
  CreateOptions to_create_options(const Secrets& secrets,
                                  NewImage purpose = NewImage::created) const;

  /// Creates the image in `path`, with the options of the file applied to the empty file first.
  void create_image(const std::string& filename, const CreateOptions& options) const;

 private:
  void set_preallocation(CreateOptions& options) const;
  void set_backing_file(CreateOptions& options) const;

  std::string format_;
};

}  // namespace qcowkit::cli
