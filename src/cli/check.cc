// qcow check: looks for damage in an image's metadata, and repairs it.
#include <fmt/core.h>

#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/json_text.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"

namespace qcowkit::cli {

namespace {

constexpr int kExitIncomplete = 1;
constexpr int kExitCorrupt = 2;
constexpr int kExitLeaks = 3;
constexpr int kExitNotSupported = 63;

constexpr std::array kOptions = {
    kFormatOption,
    kOutputOption,
    OptionSpec{'r', "repair", "WHAT",
               "repair: leaks gives back clusters that nothing uses, all repairs corruption, too"},
    OptionSpec{'q', "quiet", "", "print nothing but errors and findings", true},
    OptionSpec{'T', "cache", "CACHE",
               "cache mode: writeback (default), none, writethrough, directsync or unsafe", true},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

Repair parse_repair(const std::string& text) {
  if (text == "leaks") return Repair::leaks;
  if (text == "all") return Repair::all;
  throw UsageError(
      fmt::format("Unknown option value for -r (expecting 'leaks' or 'all'): {}", text));
}

void print_findings(const CheckReport& report, Console& console) {
  std::string lines;
  for (const std::string& message : report.messages) lines += message + '\n';
  if (report.messages.size() >= CheckReport::kMessagesMax)
    lines += "Further findings are left out.\n";
  if (!lines.empty()) console.write_error(lines);
}

CheckReport run_check(Image& image, Repair repair, Console& console) {
  try {
    CheckOptions options;
    options.repair = repair;
    CheckReport report = image.check(options);
    print_findings(report, console);
    return report;
  } catch (const Error& e) {
    if (e.code() == make_error_code(Errc::unsupported)) {
      throw Failure("This image format does not support checks", kExitNotSupported);
    }
    throw Failure(fmt::format("Check failed: {}", e.what()));
  }
}

Json report_json(const CheckReport& report, const ImageName& name, const Image& image) {
  Json json = Json::object();
  const auto put_unless_zero = [&](const char* key, std::uint64_t value) {
    if (value != 0) json[key] = value;
  };
  put_unless_zero("image-end-offset", report.image_end_offset);
  put_unless_zero("compressed-clusters", report.compressed_clusters);
  put_unless_zero("total-clusters", report.total_clusters);
  put_unless_zero("corruptions", report.corruptions);
  put_unless_zero("corruptions-fixed", report.corruptions_fixed);
  json["check-errors"] = report.check_errors;
  put_unless_zero("leaks", report.leaks);
  put_unless_zero("leaks-fixed", report.leaks_fixed);
  put_unless_zero("allocated-clusters", report.allocated_clusters);
  json["filename"] = name.text;
  json["format"] = image.format();
  put_unless_zero("fragmented-clusters", report.fragmented_clusters);
  return json;
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return static_cast<double>(part) * 100.0 / static_cast<double>(whole);
}

void print_report(const CheckReport& report, Console& console) {
  if (report.corruptions == 0 && report.leaks == 0 && report.check_errors == 0) {
    console.write("No errors were found on the image.\n");
  }
  if (report.corruptions != 0) {
    console.print(
        "\n{} errors were found on the image.\n"
        "Data may be corrupted, or further writes to the image may corrupt it.\n",
        report.corruptions);
  }
  if (report.leaks != 0) {
    console.print(
        "\n{} leaked clusters were found on the image.\n"
        "This means waste of disk space, but no harm to data.\n",
        report.leaks);
  }
  if (report.check_errors != 0) {
    console.print("\n{} internal errors have occurred during the check.\n", report.check_errors);
  }
  if (report.total_clusters != 0 && report.allocated_clusters != 0) {
    console.print("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
                  report.allocated_clusters, report.total_clusters,
                  percent(report.allocated_clusters, report.total_clusters),
                  percent(report.fragmented_clusters, report.allocated_clusters),
                  percent(report.compressed_clusters, report.allocated_clusters));
  }
  if (report.image_end_offset != 0) {
    console.print("Image end offset: {}\n", report.image_end_offset);
  }
}

int exit_code_of(const CheckReport& report) {
  if (report.check_errors != 0) return kExitIncomplete;
  if (report.corruptions != 0) return kExitCorrupt;
  if (report.leaks != 0) return kExitLeaks;
  return 0;
}

/// Checks, and checks again what was repaired, so that the result is what the image is now.
CheckReport check_and_repair(Image& image, Repair repair, bool tell, Console& console) {
  CheckReport first = run_check(image, repair, console);
  if (first.leaks_fixed == 0 && first.corruptions_fixed == 0) return first;
  if (tell) {
    console.print(
        "The following inconsistencies were found and repaired:\n\n"
        "    {} leaked clusters\n    {} corruptions\n\n"
        "Double checking the fixed image now...\n",
        first.leaks_fixed, first.corruptions_fixed);
  }
  CheckReport second = run_check(image, Repair::none, console);
  second.leaks_fixed = first.leaks_fixed;
  second.corruptions_fixed = first.corruptions_fixed;
  return second;
}

void check(const Arguments& so_far) {
  if (const auto what = so_far.value("--repair")) parse_repair(*what);
}

int run(const Arguments& arguments, Console& console) {
  const bool quiet = arguments.has("-q");
  Repair repair = Repair::none;
  if (const auto what = arguments.value("--repair")) repair = parse_repair(*what);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const bool json = wants_json(arguments);
  OpenOptions options;
  options.cache = parse_cache_mode(arguments.value("-T").value_or("writeback"), "source cache");
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("--format"), &console);
  options.for_check = true;
  options.read_only = repair == Repair::none;
  if (arguments.has("--force-share")) {
    if (!options.read_only) {
      throw Failure(fmt::format(
          "Could not open '{}': force-share=on can only be used with read-only images", name.text));
    }
    options.locking = Locking::force_share;
  }

  const std::unique_ptr<Image> image = options.read_only
                                           ? open_image(name, secrets, options)
                                           : open_writable(name, secrets, options, console);
  const CheckReport report = check_and_repair(*image, repair, !json && !quiet, console);
  if (!quiet) {
    if (json) {
      console.write(json_text(report_json(report, name, *image)));
    } else {
      print_report(report, console);
    }
  }
  close_image(*image, name);
  return exit_code_of(report);
}

}  // namespace

constexpr Command kCheckCommand{
    .name = "check",
    .arguments = "FILENAME",
    .summary = "look for damage in an image, and repair it",
    .description =
        "Compares what the image's metadata says with what it should say. Findings go to standard "
        "error, the result to standard output. Only qcow2 images can be checked.\n"
        "With -r the exit code tells of the image as it is after the repair.\n",
    .options = kOptions,
    .details =
        "Exit codes:\n"
        "  0   the image is (now) consistent\n"
        "  1   the check could not be completed\n"
        "  2   the image is corrupt\n"
        "  3   the image has leaked clusters, but is not corrupt\n"
        "  63  images of this format cannot be checked\n\n"
        "Examples:\n"
        "  qcow check disk.qcow2\n"
        "  qcow check -r leaks disk.qcow2\n",
    .check = check,
    .error_exit_code = kExitIncomplete,
    .run = run,
};

}  // namespace qcowkit::cli
