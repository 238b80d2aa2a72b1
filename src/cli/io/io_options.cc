// The options of the I/O program's command line.
#include "cli/io/io_options.h"

#include "cli/failure.h"

namespace qcowkit::cli::io {

namespace {

/// Of several options that set the same, the last one counts.
void apply(const Arguments::Given& given, Opening& opening) {
  if (given.name == "nocache") opening.cache = CacheMode::none;
  if (given.name == "cache") opening.set_cache(given.value);
  if (given.name == "discard") opening.set_discard(given.value);
  if (given.name == "native-aio") opening.native_aio = true;
  if (given.name == "aio") opening.set_aio(given.value);
}

}  // namespace

void check_options(const Arguments& so_far) {
  Opening ignored;
  apply(so_far.sequence().back(), ignored);
}

Opening opening_of(const Arguments& arguments) {
  Opening opening;
  for (const Arguments::Given& given : arguments.sequence()) apply(given, opening);
  opening.read_only = arguments.has("--read-only");
  opening.snapshot = arguments.has("--snapshot");
  opening.copy_on_read = arguments.has("--copy-on-read");
  opening.force_share = arguments.has("--force-share");
  opening.format = arguments.value("--format");
  const std::vector<std::string>& names = arguments.positional();
  if (names.size() > 1) throw UsageError("Expecting one image file name");
  const bool is_list = arguments.has("--image-opts");
  if (is_list && opening.format) throw Failure("--image-opts and -f are mutually exclusive");
  if (!names.empty()) (is_list ? opening.options : opening.name) = names[0];
  return opening;
}

}  // namespace qcowkit::cli::io
