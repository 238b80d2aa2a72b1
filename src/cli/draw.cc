// qcow draw: shows what a disk is made of.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/picture.h"
#include "cli/progress.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    kFormatOption,     OptionSpec{'\0', "output", "KIND", "human (default), svg or json"},
    kForceShareOption, kObjectOption,
    kImageOptsOption,  kHelpOption,
};

int run(const Arguments& arguments, Console& console) {
  const std::string output = arguments.value("--output").value_or("human");
  const bool is_human = output == "human";
  if (!is_human && output != "svg" && output != "json") {
    throw UsageError(
        fmt::format("--output must be used with human, svg or json, not '{}'", output));
  }
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("--format"), &console);
  OpenOptions options;
  if (arguments.has("--force-share")) options.locking = Locking::force_share;
  const std::unique_ptr<Image> image = open_image(name, secrets, options);

  Progress progress(console, Progress::Mode::on_signal);
  const DiskSurvey survey =
      survey_disk(*image, is_human ? kTextCellsMax : kSvgCellsMax, progress.sink());
  close_image(*image, name);
  if (is_human) {
    console.write(text_picture(survey, console.has_colours()));
  } else if (output == "svg") {
    console.write(svg_picture(survey));
  } else {
    console.write(json_text(json_picture(survey)) + "\n");
  }
  return 0;
}

}  // namespace

constexpr Command kDrawCommand{
    .name = "draw",
    .arguments = "FILENAME",
    .summary = "draw what a disk is made of",
    .description =
        "Draws the virtual disk from its start to its end: which image of the backing chain has "
        "the data of each part, what is zeroes and what was never written. The picture is made "
        "from the metadata; the disk itself is not read.\n"
        "The human form has a letter for each image, the image itself being A, its backing file B "
        "and so on, small where data is in less than half of the part. With --output=svg it is a "
        "drawing for a web browser, which also shows where in the files the data lies: a "
        "straight line is a disk in order, a cloud of dots a fragmented one. The JSON form has the "
        "numbers that are drawn there.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow draw disk.qcow2\n"
        "  qcow draw --output=svg disk.qcow2 >disk.svg\n",
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
