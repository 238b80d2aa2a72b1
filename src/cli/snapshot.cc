// qcow snapshot: lists, makes, applies and deletes an image's snapshots.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <memory>

#include "cli/command.h"
#include "cli/common_options.h"
#include "cli/failure.h"
#include "cli/open_arguments.h"
#include "cli/secrets.h"
#include "cli/snapshot_list.h"

namespace qcowkit::cli {

namespace {

constexpr std::array kOptions = {
    OptionSpec{'f', "format", "FMT", "the image's format, found out if not given", true},
    OptionSpec{'l', "list", "", "list the snapshots", true},
    OptionSpec{'c', "create", "NAME", "make a snapshot of the disk as it is now", true},
    OptionSpec{
        'a', "apply", "SNAPSHOT",
        "make the disk what it was then; SNAPSHOT is an id or a name. What has changed since "
        "is lost",
        true},
    OptionSpec{'d', "delete", "NAME", "delete a snapshot", true},
    OptionSpec{'q', "quiet", "", "print nothing but errors and the list", true},
    kForceShareOption,
    kObjectOption,
    kImageOptsOption,
    kHelpOption,
};

/// What is to be done: one of the options' letters; '\0': nothing.
char chosen_action(const Arguments& arguments) {
  char action = '\0';
  std::size_t count = 0;
  for (const char letter : {'l', 'a', 'c', 'd'}) {
    const std::size_t given = arguments.all(std::string{'-', letter}).size();
    if (given != 0) action = letter;
    count += given;
  }
  if (count > 1) throw UsageError("Cannot mix '-l', '-a', '-c', '-d'");
  return action;
}

bool is_unsupported(const Error& error) {
  return error.code() == make_error_code(Errc::unsupported);
}

/// The snapshots; none where the format has none.
std::vector<SnapshotInfo> list_snapshots(const Image& image) {
  try {
    return image.snapshots();
  } catch (const Error& e) {
    if (is_unsupported(e)) return {};
    throw;
  }
}

void create_snapshot(Image& image, const std::string& name) {
  try {
    Image::NewSnapshot snapshot;
    snapshot.name = name;
    snapshot.icount = 0;  // no machine is running that could count
    image.create_snapshot(snapshot);
  } catch (const Error& e) {
    const std::string reason = is_unsupported(e) ? "-95 (Operation not supported)"
                                                 : without_name(e.what(), image.filename());
    throw Failure(fmt::format("Could not create snapshot '{}': {}", name, reason));
  }
}

void apply_snapshot(Image& image, const std::string& id_or_name) {
  const auto fail = [&](const std::string& reason) {
    return Failure(fmt::format("Could not apply snapshot '{}': {}", id_or_name, reason));
  };
  const std::vector<SnapshotInfo> snapshots = list_snapshots(image);
  const bool is_there = std::ranges::any_of(snapshots, [&](const SnapshotInfo& snapshot) {
    return snapshot.id == id_or_name || snapshot.name == id_or_name;
  });
  try {
    image.apply_snapshot(SnapshotSelector::id_or_name(id_or_name));
  } catch (const Error& e) {
    if (is_unsupported(e)) throw fail("Block driver does not support snapshots");
    if (!is_there) throw fail("Failed to load snapshot: No such file or directory");
    throw fail(without_name(e.what(), image.filename()));
  }
}

/// Deletes the first snapshot of this name. Unlike the others, this does not take an id.
void delete_snapshot(Image& image, const std::string& name) {
  const auto fail = [&](const std::string& reason) {
    return Failure(fmt::format("Could not delete snapshot '{}': {}", name, reason));
  };
  const std::vector<SnapshotInfo> snapshots = list_snapshots(image);
  const auto found = std::ranges::find(snapshots, name, &SnapshotInfo::name);
  if (found == snapshots.end()) throw fail("snapshot not found");
  try {
    image.delete_snapshot({.id = found->id, .name = found->name});
  } catch (const Error& e) {
    throw fail(without_name(e.what(), image.filename()));
  }
}

void act(char action, const Arguments& arguments, Image& image, Console& console) {
  switch (action) {
    case 'l':
      console.write(snapshot_list_text(list_snapshots(image)));
      break;
    case 'c':
      create_snapshot(image, *arguments.value("-c"));
      break;
    case 'a':
      apply_snapshot(image, *arguments.value("-a"));
      break;
    case 'd':
      delete_snapshot(image, *arguments.value("-d"));
      break;
    default:
      break;
  }
}

void check(const Arguments& so_far) { chosen_action(so_far); }

int run(const Arguments& arguments, Console& console) {
  const char action = chosen_action(arguments);
  const Secrets secrets = parse_secrets(arguments.all("--object"));
  if (arguments.positional().size() != 1) throw UsageError("Expecting one image file name");
  const ImageName name = parse_image_name(arguments.positional()[0], arguments.has("--image-opts"),
                                          arguments.value("-f"), &console);
  OpenOptions options;
  if (arguments.has("--force-share")) {
    if (action != 'l') {
      throw Failure(fmt::format(
          "Could not open '{}': force-share=on can only be used with read-only images", name.text));
    }
    options.locking = Locking::force_share;
  }
  const std::unique_ptr<Image> image = action == 'l'
                                           ? open_image(name, secrets, options)
                                           : open_writable(name, secrets, options, console);
  act(action, arguments, *image, console);
  close_image(*image, name);
  return 0;
}

}  // namespace

constexpr Command kSnapshotCommand{
    .name = "snapshot",
    .arguments = "FILENAME",
    .summary = "list, make, apply and delete snapshots",
    .description =
        "Works on the internal snapshots of FILENAME: states of the disk that the image keeps "
        "beside the present one. Only qcow2 images have them. One of -l, -c, -a and -d says what "
        "to do.\n",
    .options = kOptions,
    .details =
        "Examples:\n"
        "  qcow snapshot -c before-upgrade disk.qcow2\n"
        "  qcow snapshot -l disk.qcow2\n"
        "  qcow snapshot -a before-upgrade disk.qcow2\n",
    .check = check,
    .error_exit_code = 1,
    .run = run,
};

}  // namespace qcowkit::cli
