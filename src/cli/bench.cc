// qcow bench: measures how fast an image serves requests.
#include <fmt/core.h>

#include <array>
#include <limits>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/option_values.h"
#include "cli/size_arguments.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kIntMax = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kByteMax = 255;

constexpr std::array kOptions = {
    OptionSpec{'c', "count", "COUNT", "how many requests are made (75000)", true},
    OptionSpec{'d', "depth", "DEPTH", "how many of them at once (64)", true},
    OptionSpec{'f', "format", "FMT", "the image's format, found out if not given", true},
    OptionSpec{'\0', "flush-interval", "COUNT", "with -w: flush after each so many requests"},
    OptionSpec{'i', "aio", "AIO",
               "threads, native or io_uring: how the reference would make requests; changes "
               "nothing here",
               true},
    OptionSpec{'n', "native", "", "the same as -i native", true},
    OptionSpec{'\0', "no-drain", "", "do not wait for requests under way before a flush"},
    OptionSpec{'o', "offset", "OFFSET", "where the first request starts (0)", true},
    OptionSpec{'\0', "pattern", "BYTE", "with -w: what is written (0)"},
    OptionSpec{'q', "quiet", "", "taken for compatibility: the result is printed all the same",
               true},
    OptionSpec{'s', "buffer-size", "SIZE", "how long a request is (4k)", true},
    OptionSpec{'S', "step-size", "SIZE",
               "from the start of one request to the next one's (the buffer size)", true},
    OptionSpec{'t', "cache", "CACHE",
               "cache mode of the image: writeback (default), none, writethrough, directsync or "
               "unsafe",
               true},
    OptionSpec{'w', "write", "", "measure writing, which destroys what the image holds", true},
    kForceShareOption,
    kImageOptsOption,
    kHelpOption,
};

std::uint64_t number_argument(const Arguments& arguments, std::string_view option,
                              std::string_view what, std::uint64_t max, std::uint64_t otherwise) {
  const std::optional<std::string> text = arguments.value(option);
  if (!text) return otherwise;
  const std::optional<std::uint64_t> number = parse_number(*text);
  if (!number || *number > max) throw Failure(fmt::format("Invalid {} specified", what));
  return *number;
}

std::uint64_t size_of(const Arguments& arguments, std::string_view option, std::string_view what,
                      std::uint64_t max, std::uint64_t otherwise) {
  const std::optional<std::string> text = arguments.value(option);
  return text ? size_argument(*text, what, 0, max) : otherwise;
}

BenchOptions bench_options(const Arguments& arguments) {
  BenchOptions options;
  options.write = arguments.has("-w");
  options.count = number_argument(arguments, "-c", "request count", kIntMax, options.count);
  options.depth = static_cast<std::uint32_t>(
      number_argument(arguments, "-d", "queue depth", kIntMax, options.depth));
  options.offset = size_of(arguments, "-o", "offset", std::numeric_limits<std::int64_t>::max(), 0);
  options.request_bytes = size_of(arguments, "-s", "buffer size", kIntMax, options.request_bytes);
  options.step_bytes = size_of(arguments, "-S", "step_size", kIntMax, 0);
  if (options.step_bytes == 0) options.step_bytes = options.request_bytes;
  options.pattern =
      static_cast<std::byte>(number_argument(arguments, "--pattern", "pattern byte", kByteMax, 0));
  options.flush_interval =
      number_argument(arguments, "--flush-interval", "flush interval", kIntMax, 0);
  options.flushes_among_writes = arguments.has("--no-drain");
  return options;
}

/// True if requests are to be made by the kernel's oldest way. They are made in one way here, but
/// what the reference would refuse is refused.
bool check_aio_mode(const Arguments& arguments) {
  const std::string aio = arguments.value("-i").value_or("threads");
  if (aio != "threads" && aio != "native" && aio != "io_uring") {
    throw Failure(fmt::format("Invalid aio option: {}", aio));
  }
  return aio == "native" || arguments.has("-n");
}

void check_aio(const Arguments& arguments, CacheMode cache) {
  const bool is_direct = cache == CacheMode::none || cache == CacheMode::directsync;
  if (check_aio_mode(arguments) && !is_direct) {
    throw Failure(
        fmt::format("Could not open '{}': aio=native was specified, but it requires "
                    "cache.direct=on, which was not specified.",
                    arguments.positional()[0]));
  }
}

CacheMode cache_mode(const Arguments& arguments) {
  try {
    return parse_cache_mode(arguments.value("-t").value_or("writeback"), "cache");
  } catch (const Failure&) {
    throw Failure("Invalid cache mode");
  }
}

void print_plan(const BenchOptions& options, Console& console) {
  console.print(
      "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size "
      "{})\n",
      options.count, options.write ? "write" : "read", options.request_bytes, options.depth,
      options.offset, options.step_bytes);
  if (options.flush_interval != 0) {
    console.print("Sending flush every {} requests\n", options.flush_interval);
  }
}

void check(const Arguments& so_far) {
  bench_options(so_far);
  cache_mode(so_far);
  check_aio_mode(so_far);
}

int run(const Arguments& arguments, Console& console) {
  const BenchOptions options = bench_options(arguments);
  OpenOptions open_options;
  open_options.cache = cache_mode(arguments);
  if (arguments.has("--force-share")) open_options.locking = Locking::force_share;
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  if (!options.write && options.flush_interval != 0) {
    throw Failure("--flush-interval is only available in write tests");
  }
  if (options.flush_interval != 0 && options.flush_interval < options.depth) {
    throw Failure("Flush interval can't be smaller than depth");
  }
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("-f"), &console);
  check_aio(arguments, open_options.cache);
  if (options.write && arguments.has("--force-share")) {
    throw Failure(fmt::format(
        "Could not open '{}': force-share=on can only be used with read-only images", name.text));
  }
  const std::unique_ptr<Image> image = options.write
                                           ? open_writable(name, {}, open_options, console)
                                           : open_image(name, {}, open_options);
  if (options.depth == 0) throw Failure("Invalid queue depth specified");

  print_plan(options, console);
  console.flush();
  try {
    const std::chrono::duration<double> seconds = time_requests(*image, options);
    console.print("Run completed in {:.3f} seconds.\n", seconds.count());
  } catch (const Error& e) {
    throw Failure(fmt::format("Failed request: {}", e.code().message()));
  }
  close_image(*image, name);
  return 0;
}

}  // namespace

constexpr Command kBenchCommand{
    .name = "bench",
    .arguments = "FILENAME",
    .summary = "measure how fast an image serves requests",
    .description =
        "Makes COUNT requests of SIZE bytes, one step apart and starting again where the disk "
        "ends, with DEPTH of them under way at once, and tells how long that took.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow bench -c 100000 -d 1 disk.qcow2\n"
        "  qcow bench -w -t none -s 64k --flush-interval 1024 scratch.qcow2\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
