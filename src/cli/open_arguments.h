// From a file name and options to an open image.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/console.h"
#include "cli/options.h"
#include "cli/secrets.h"
#include "qcowkit/image.h"
#include "qcowkit/node.h"

namespace qcowkit::cli {

/// An image as the command line names it.
struct ImageName {
  std::string text;    ///< as it was given
  std::string path;    ///< the file that it means; `text` if it means something else
  std::string format;  ///< the driver that was named; empty: to be found out
  NodeOptions node;    ///< what it all means
};

/// Reads a name as the library does (`NodeOptions::from_name`), or with `image_opts` a list of
/// options. `format` is the value of -f. Old spellings are warned of on the console, if there is
/// one. Throws `Failure`.
ImageName parse_image_name(const std::string& text, bool image_opts,
                           const std::optional<std::string>& format, Console* console = nullptr);

/// Opens the image with the secrets that its options name; an encrypted one without secret is
/// refused. What goes wrong reads "Could not open 'name': ...", with `exit_code`.
std::unique_ptr<Image> open_image(const ImageName& name, const Secrets& secrets,
                                  OpenOptions options, int exit_code = -1);

/// Opens the image to be changed; warns on the console where it was only taken for raw.
std::unique_ptr<Image> open_writable(const ImageName& name, const Secrets& secrets,
                                     OpenOptions options, Console& console);

/// Opens the image alone, to be described: of the objects, secrets are not needed and not
/// looked up.
std::unique_ptr<Image> open_for_description(const ImageName& name, OpenOptions options,
                                            const Secrets& secrets = {});

/// The library's `message` without the image's name in front of it, for where that has been said.
std::string without_name(std::string_view message, std::string_view name);

/// True if both names mean the same existing file.
bool is_same_file(const std::string& a, const std::string& b);

/// Closes it and reports what only closing can tell.
void close_image(Image& image, const ImageName& name);

/// The option that names the passphrase of an image of `format`.
std::string key_secret_option(std::string_view format);

/// The value of -t or -T. `what` is "cache" or "source cache". Throws `Failure`.
CacheMode parse_cache_mode(const std::string& text, std::string_view what, int exit_code = -1);

/// True if images are created in what the name means, which has to be there: an export of a server.
bool lies_on_server(const std::string& text);

/// The local path of a file that is to be created: "file:" is taken off. Throws `Failure` for names
/// with another protocol before them ("nbd://...").
std::string local_path(const std::string& text);
/// Throws `Failure` for names that nothing can be created in.
void require_creatable(const std::string& text);

/// The path that a backing file's name means in an image in `image_path`.
std::string resolve_reference(const std::string& image_path, const std::string& reference);

/// The value of --output. Throws `Failure`.
bool wants_json(const Arguments& arguments);

}  // namespace qcowkit::cli
