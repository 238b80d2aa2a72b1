// qcow dd: copies a part of an image, block by block.
#include <fmt/core.h>

#include <array>
#include <limits>
#include <memory>

#include "base/sector.h"
#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/create_arguments.h"
#include "cli/failure.h"
#include "cli/format_options.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/size_arguments.h"
#include "qcowkit/jobs.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kBlockBytesMax = std::numeric_limits<std::int32_t>::max();

constexpr std::array kOptions = {
    OptionSpec{'f', "format", "FMT", "the input's format, found out if not given", true},
    OptionSpec{'O', "output-format", "FMT", "the output's format: raw (default), qcow2 or qcow",
               true},
    kForceShareOption,
    kObjectOption,
    OptionSpec{'\0', "image-opts", "",
               "the input is a list of options, as in driver=qcow2,file.filename=disk.qcow2"},
    kHelpOption,
};

/// The words "name=value".
struct Operands {
  std::optional<std::string> input;
  std::optional<std::string> output;
  std::uint64_t block_bytes = kSectorBytes;
  std::uint64_t skip_blocks = 0;
  std::optional<std::uint64_t> count_blocks;
};

Operands parse_operands(const std::vector<std::string>& words) {
  Operands operands;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::string value = equals == word.npos ? "" : word.substr(equals + 1);
    if (equals != word.npos && name == "if") {
      operands.input = value;
    } else if (equals != word.npos && name == "of") {
      operands.output = value;
    } else if (equals != word.npos && name == "bs") {
      operands.block_bytes = size_argument(value, "bs", 1, kBlockBytesMax);
    } else if (equals != word.npos && name == "count") {
      operands.count_blocks = size_argument(value, "count");
    } else if (equals != word.npos && name == "skip") {
      operands.skip_blocks = size_argument(value, "skip");
    } else {
      throw Failure(fmt::format("unrecognized operand {}", name));
    }
  }
  return operands;
}

/// a * b, or the largest number: more than any image has.
std::uint64_t bounded_product(std::uint64_t a, std::uint64_t b) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  return b != 0 && a > kMax / b ? kMax : a * b;
}

/// The part of the input that is copied.
struct Part {
  std::uint64_t offset;
  std::uint64_t length_bytes;
};

Part part_of(const Image& input, const Operands& operands, Console& console) {
  const std::uint64_t size = input.virtual_size();
  const std::uint64_t offset = bounded_product(operands.skip_blocks, operands.block_bytes);
  if (offset > size) {
    console.error(fmt::format("{}: cannot skip to specified offset", *operands.input));
    return {size, 0};
  }
  std::uint64_t length = size - offset;
  if (operands.count_blocks) {
    length = std::min(length, bounded_product(*operands.count_blocks, operands.block_bytes));
  }
  return {offset, length};
}

std::unique_ptr<Image> make_output(const CreateArguments& wanted, const std::string& filename,
                                   std::uint64_t size_bytes, const Secrets& secrets) {
  require_creatable(filename);
  try {
    CreateOptions options = wanted.to_create_options(secrets);
    options.size_bytes = size_bytes;
    wanted.create_image(filename, options);
  } catch (const std::exception& e) {
    throw Failure(fmt::format("{}: error while creating output image: {}", filename,
                              without_name(e.what(), filename)));
  }
  OpenOptions options;
  options.read_only = false;
  return open_image(parse_image_name(filename, false, wanted.format()), secrets, options);
}

int run(const Arguments& arguments, Console& console) {
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  const Operands operands = parse_operands(arguments.positional());
  if (!operands.input || !operands.output) {
    throw Failure("Must specify both input and output files");
  }
  const ImageName input_name = parse_image_name(*operands.input, arguments.has("--image-opts"),
                                                arguments.value("-f"), &console);
  OpenOptions options;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const std::unique_ptr<Image> input = open_image(input_name, secrets, options);

  const std::string format = arguments.value("-O").value_or("raw");
  if (!is_known_format(format)) throw Failure("Unknown file format");
  const CreateArguments wanted(format, "");
  const Part part = part_of(*input, operands, console);
  const std::uint64_t output_bytes =
      (part.length_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  const std::unique_ptr<Image> output =
      make_output(wanted, *operands.output, output_bytes, secrets);

  CopyOptions copy_options;
  copy_options.sparse_bytes = 0;  // everything is written
  copy_options.target_is_zero = true;
  copy_options.source_offset_bytes = part.offset;
  copy_options.length_bytes = part.length_bytes;
  copy({input.get()}, *output, copy_options);
  output->close();
  close_image(*input, input_name);
  return 0;
}

}  // namespace

constexpr Command kDdCommand{
    .name = "dd",
    .arguments = "[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
    .summary = "copy a part of an image into another",
    .description =
        "Copies BLOCKS blocks of BLOCK_SIZE bytes (512), or all that there are, from the disk in "
        "INPUT into the new image OUTPUT, after leaving out as many as skip says. All of OUTPUT is "
        "written, also what reads as zeroes.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow dd if=disk.qcow2 of=boot-sector bs=512 count=1\n"
        "  qcow dd -O qcow2 bs=1M skip=1 if=disk.raw of=partition.qcow2\n",
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
