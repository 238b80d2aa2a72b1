// qcow convert: copies images into another image.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/sector.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/copy_bitmaps.h"
#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/key_values.h"
#include "cli/open_arguments.h"
#include "cli/option_values.h"
#include "cli/progress.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"
#include "cli/snapshot_source.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kSparseBytesDefault = 4096;
constexpr std::uint64_t kSparseBytesMax = 16 << 20;
constexpr std::uint32_t kWorkersMax = 16;
/// Where a server takes its time over each request, more of them are kept under way than there are
/// cores.
constexpr std::uint32_t kWorkersRemote = 8;

constexpr std::array kOptions = {
    OptionSpec{'f', "", "FMT", "the sources' format; found out if not given"},
    OptionSpec{'O', "", "FMT", "the target's format: raw (default), qcow2, qcow or luks"},
    kCreateOptionsOption,
    OptionSpec{'c', "", "", "compress the target's clusters (qcow2)"},
    OptionSpec{'B', "", "BACKING_FILE",
               "give the target this backing file, which has the content of the source's, and copy "
               "only what differs; a relative name is looked up from the target's directory"},
    OptionSpec{'b', "", "BACKING_FILE", "another name of -B"},
    OptionSpec{'F', "", "BACKING_FMT", "the backing file's format, required with -B"},
    OptionSpec{'n', "", "", "do not create the target: it is there and is written over"},
    OptionSpec{'\0', "target-is-zero", "", "with -n: the target reads as zeroes"},
    OptionSpec{'S', "", "SIZE",
               "leave out runs of zeroes of at least this many bytes (4k); 0: write everything"},
    OptionSpec{'m', "", "COUNT",
               "work with this many threads, 1 to 16 (one for each processor; 8 with a server)"},
    OptionSpec{'W', "", "", "let the target's clusters be written in any order"},
    OptionSpec{'C', "", "",
               "let the kernel copy where it can; this is done in any case, but not with -c or -S"},
    OptionSpec{'r', "", "RATE", "copy at most this many bytes of data a second"},
    OptionSpec{'t', "", "CACHE",
               "cache mode of the target: unsafe (default), writeback, none, writethrough or "
               "directsync"},
    kSourceCacheOption,
    OptionSpec{'l', "", "SNAPSHOT",
               "copy one of the source's snapshots, by its id or its name, or with "
               "snapshot.id=ID,snapshot.name=NAME"},
    OptionSpec{'\0', "bitmaps", "", "copy the source's bitmaps, too"},
    OptionSpec{'\0', "skip-broken-bitmaps", "",
               "with --bitmaps: leave out inconsistent ones, with a warning"},
    OptionSpec{'\0', "salvage", "",
               "go on after read errors: what cannot be read becomes zeroes, with a warning"},
    kQuietOption,
    kProgressOption,
    kForceShareOption,
    kObjectOption,
    OptionSpec{'\0', "image-opts", "",
               "the sources' names are lists of options, as in "
               "driver=qcow2,file.filename=disk.qcow2"},
    OptionSpec{'\0', "target-image-opts", "", "with -n: the target's name is such a list"},
    kHelpOption,
};

struct OpenedImage {
  ImageName name;
  std::unique_ptr<Image> image;
};

void check_combinations(const Arguments& arguments) {
  const bool creates = !arguments.has("-n");
  if (arguments.has("--image-opts") && arguments.has("-f")) {
    throw Failure("--image-opts and --format are mutually exclusive");
  }
  if (arguments.has("--target-image-opts") && creates) {
    throw Failure("--target-image-opts requires use of -n flag");
  }
  if (arguments.has("--target-is-zero") && creates) {
    throw Failure("--target-is-zero requires use of -n flag");
  }
  if (arguments.has("--skip-broken-bitmaps") && !arguments.has("--bitmaps")) {
    throw Failure("Use of --skip-broken-bitmaps requires --bitmaps");
  }
  if (arguments.has("-C") && arguments.has("-c")) {
    throw Failure("Cannot enable copy offloading when -c is used");
  }
  if (arguments.has("-C") && arguments.has("-S")) {
    throw Failure("Cannot enable copy offloading when -S is used");
  }
  if (arguments.has("-C") && arguments.has("--salvage")) {
    throw Failure("Cannot use copy offloading in salvaging mode");
  }
  if (arguments.has("-o") && !creates) {
    throw Failure("-o has no effect when skipping image creation");
  }
}

std::uint64_t parse_sparse_size(const Arguments& arguments) {
  const std::optional<std::string> text = arguments.value("-S");
  if (!text) return kSparseBytesDefault;
  const std::uint64_t size = size_argument(*text, "buffer size for sparse output");
  if (size % kSectorBytes != 0 || size > kSparseBytesMax) {
    throw Failure(fmt::format(
        "Invalid buffer size for sparse output specified. Valid sizes are multiples of {} up to "
        "{}. Select 0 to disable sparse detection (fully allocates output).",
        kSectorBytes, kSparseBytesMax));
  }
  return size;
}

/// 0: as many as the library thinks fit.
std::uint32_t parse_workers(const Arguments& arguments) {
  const std::optional<std::string> text = arguments.value("-m");
  if (!text) return 0;
  const std::optional<std::uint64_t> count = parse_number(*text);
  if (!count || *count < 1 || *count > kWorkersMax) {
    throw Failure(
        fmt::format("Invalid number of coroutines. Allowed number of coroutines is "
                    "between 1 and {}",
                    kWorkersMax));
  }
  return static_cast<std::uint32_t>(*count);
}

/// 0: no limit.
std::uint64_t parse_rate(const Arguments& arguments) {
  const std::optional<std::string> rate = arguments.value("-r");
  return rate ? size_argument(*rate, "rate limit") : 0;
}

/// -B and -F, put into the list of -o options.
void merge_backing_file(CreateArguments& wanted, const Arguments& arguments,
                        std::size_t source_count) {
  for (const auto& [option, name] :
       {std::pair{"-b", "backing_file"}, {"-B", "backing_file"}, {"-F", "backing_fmt"}}) {
    const std::optional<std::string> value = arguments.value(option);
    if (!value) continue;
    if (!wanted.takes(name)) {
      throw Failure(fmt::format("Backing file{} not supported for file format '{}'",
                                option == std::string_view("-F") ? " format" : "",
                                wanted.format()));
    }
    wanted.set(name, *value);
  }
  if (!wanted.get("backing_file")) return;
  if (source_count > 1) {
    throw Failure(
        "Having a backing file for the target makes no sense when concatenating "
        "multiple input images");
  }
  if (!wanted.get("backing_fmt")) {
    throw Failure("Use of backing file requires explicit backing format");
  }
}

void check_compression(const CreateArguments& wanted, bool compress) {
  if (!compress) {
    if (wanted.get("compression_level")) {
      throw Failure("Parameter 'compression_level' needs -c");
    }
    return;
  }
  if (wanted.format() == "raw" || wanted.format() == "luks") {
    throw Failure("Compression not supported for this file format");
  }
  if (wanted.is_on("encryption") || wanted.has("encrypt.format")) {
    throw Failure("Compression and encryption not supported at the same time");
  }
  if (wanted.get("preallocation").value_or("off") != "off") {
    throw Failure("Compression and preallocation not supported at the same time");
  }
  if (wanted.get("data_file")) {
    throw Failure("Compression and an external data file not supported at the same time");
  }
}

std::vector<OpenedImage> open_sources(const Arguments& arguments, const Secrets& secrets,
                                      CacheMode cache, Console& console) {
  OpenOptions options;
  options.cache = cache;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const std::vector<std::string>& names = arguments.positional();
  const std::optional<std::string> snapshot = arguments.value("-l");
  if (names.size() > 2) {
    if (arguments.has("--bitmaps")) {
      throw Failure("Copying bitmaps only possible with single source");
    }
    if (snapshot) throw Failure("No support for concatenating multiple snapshot");
  }
  std::vector<OpenedImage> sources;
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    ImageName name =
        parse_image_name(names[i], arguments.has("--image-opts"), arguments.value("-f"), &console);
    std::unique_ptr<Image> image = open_source(name, secrets, options, snapshot, console);
    sources.push_back({std::move(name), std::move(image)});
  }
  return sources;
}

void create_target(const std::string& filename, const CreateArguments& wanted,
                   const Secrets& secrets, CacheMode cache, std::uint64_t size_bytes) {
  try {
    CreateOptions options = wanted.to_create_options(secrets);
    options.size_bytes = size_bytes;
    options.cache = cache;
    options.open_backing = false;  // opening the target will show whether it is there
    wanted.create_image(filename, options);
  } catch (const std::exception& e) {
    throw Failure(fmt::format("{}: error while converting {}: {}", filename, wanted.format(),
                              without_name(e.what(), filename)));
  }
}

OpenedImage open_target(const Arguments& arguments, const CreateArguments& wanted,
                        const Secrets& secrets, CacheMode cache) {
  const bool image_opts = arguments.has("--target-image-opts");
  std::optional<std::string> wanted_format;
  if (!image_opts || arguments.has("-O")) wanted_format = wanted.format();
  ImageName name = parse_image_name(arguments.positional().back(), image_opts, wanted_format);
  if (const auto key_secret = wanted.get(key_secret_option(wanted.format()))) {
    name.node.set(key_secret_option(wanted.format()), *key_secret);
  }
  OpenOptions options;
  options.read_only = false;
  options.cache = cache;
  std::unique_ptr<Image> image = open_image(name, secrets, options);
  return {std::move(name), std::move(image)};
}

/// The image of the source's chain that stands for the target's backing file: the same file, or, as
/// the two have the same content, the source's own backing file. Null: the source has none.
Image* find_shared_base(const Image& source, const Image& target_backing) {
  for (Image* image = source.backing(); image != nullptr; image = image->backing()) {
    if (is_same_file(image->filename(), target_backing.filename())) return image;
  }
  return source.backing();
}

/// True unless what was never written is the decryption of nothing.
bool is_zero_when_new(Image& target) {
  if (!target.is_encrypted() || target.virtual_size() == 0) return true;
  return target.map(0, target.virtual_size()).kind != ExtentKind::data;
}

CopyOptions copy_options(const Arguments& arguments, const std::vector<OpenedImage>& sources,
                         Image& target, const CreateArguments& wanted) {
  CopyOptions options;
  options.sparse_bytes = parse_sparse_size(arguments);
  options.compress = arguments.has("-c");
  options.compression_level = wanted.compression_level();
  options.workers = parse_workers(arguments);
  const auto is_remote = [](const std::string& name) { return lies_on_server(name); };
  if (options.workers == 0 && std::ranges::any_of(arguments.positional(), is_remote)) {
    options.workers = kWorkersRemote;
  }
  options.out_of_order_writes = arguments.has("-W");
  const Image* const target_backing = target.backing();
  if (arguments.has("--target-is-zero") && target_backing != nullptr) {
    throw Failure("Cannot use --target-is-zero when the destination image has a backing file");
  }
  options.target_is_zero =
      arguments.has("--target-is-zero") ||
      (!arguments.has("-n") && target_backing == nullptr && is_zero_when_new(target));
  const bool differs_from_backing =
      wanted.get("backing_file") || arguments.has("-B") || arguments.has("-b");
  if (differs_from_backing && target_backing != nullptr) {
    options.shared_base = find_shared_base(*sources[0].image, *target_backing);
    options.target_has_backing = true;
  }
  return options;
}

void copy_sources(const std::vector<OpenedImage>& sources, Image& target, CopyOptions options,
                  const Arguments& arguments, Console& console) {
  std::vector<Image*> images;
  for (const OpenedImage& source : sources) images.push_back(source.image.get());
  if (arguments.has("--salvage")) {
    options.on_read_error = [&](std::uint64_t offset, const Error& error) {
      if (arguments.has("-q")) return;
      console.error(fmt::format("warning: error while reading offset {}: {}", offset,
                                error.code().message()));
    };
  }
  copy(images, target, options);
}

void check(const Arguments& so_far) {
  join_option_lists(so_far.all("-o"));
  parse_sparse_size(so_far);
  parse_workers(so_far);
  parse_rate(so_far);
  if (const auto snapshot = so_far.value("-l")) check_snapshot(*snapshot);
}

int run(const Arguments& arguments, Console& console) {
  const std::string format = arguments.value("-O").value_or("raw");
  const std::string list = join_option_lists(arguments.all("-o"));
  const std::vector<std::string>& names = arguments.positional();
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  parse_sparse_size(arguments);
  parse_workers(arguments);
  const std::uint64_t bytes_per_second = parse_rate(arguments);
  check_combinations(arguments);
  if (asks_for_help(list)) {
    print_create_options(console, format, names.size() > 1);
    return 0;
  }
  if (names.size() < 2) throw Failure("Must specify image file name");
  const CacheMode source_cache =
      parse_cache_mode(arguments.value("-T").value_or("writeback"), "source cache");

  Progress progress(console, Progress::mode(arguments.has("-q"), arguments.has("-p")));
  std::vector<OpenedImage> sources = open_sources(arguments, secrets, source_cache, console);
  std::uint64_t size_bytes = 0;
  for (const OpenedImage& source : sources) size_bytes += source.image->virtual_size();

  const CacheMode cache = parse_cache_mode(arguments.value("-t").value_or("unsafe"), "cache");
  const bool skip_broken = arguments.has("--skip-broken-bitmaps");
  if (arguments.has("--bitmaps")) {
    require_bitmaps(*sources[0].image, skip_broken, console.program());
  }

  if (arguments.has("-n") && !is_known_format(format)) {
    throw Failure(fmt::format("Could not open '{}': Unknown driver '{}'", names.back(), format));
  }
  CreateArguments wanted(format, list);
  if (!arguments.has("-n")) {
    merge_backing_file(wanted, arguments, sources.size());
    check_compression(wanted, arguments.has("-c"));
    require_creatable(names.back());
    create_target(names.back(), wanted, secrets, cache, size_bytes);
  }
  const OpenedImage target = open_target(arguments, wanted, secrets, cache);
  if (target.image->virtual_size() < size_bytes) {
    throw Failure("output file is smaller than input file");
  }
  if (arguments.has("--bitmaps") && !can_hold_bitmaps(*target.image)) {
    throw Failure(
        fmt::format("Format driver '{}' does not support bitmaps", target.image->format()));
  }
  CopyOptions options = copy_options(arguments, sources, *target.image, wanted);
  options.bytes_per_second = bytes_per_second;
  options.progress = progress.sink();
  copy_sources(sources, *target.image, options, arguments, console);
  if (arguments.has("--bitmaps")) {
    copy_bitmaps(*sources[0].image, *target.image, skip_broken, console);
  }
  target.image->flush();
  close_image(*target.image, target.name);
  for (const OpenedImage& source : sources) close_image(*source.image, source.name);
  progress.end();
  return 0;
}

}  // namespace

constexpr Command kConvertCommand{
    .name = "convert",
    .arguments = "FILENAME... OUTPUT_FILENAME",
    .summary = "copy images into another image",
    .description =
        "Copies the disk that FILENAME holds, or several disks one behind the other, into the new "
        "image OUTPUT_FILENAME. What reads as zeroes is left out. An existing file is replaced "
        "unless -n is given.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow convert -p -O qcow2 disk.raw disk.qcow2\n"
        "  qcow convert -c -O qcow2 -o compression_type=zstd disk.qcow2 small.qcow2\n"
        "  qcow convert -O qcow2 -B base.qcow2 -F qcow2 overlay.qcow2 copy.qcow2\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
