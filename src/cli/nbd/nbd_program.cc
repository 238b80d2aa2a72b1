// The NBD server: opens images and serves them. It is a command of the image tool, and a program of
// its own when it is called by the reference's name.
#include <fmt/core.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <memory>
#include <vector>

#include "base/sector.h"
#include "cli/command.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/in_order.h"
#include "cli/io/opening.h"
#include "cli/io/overlay.h"
#include "cli/nbd/background.h"
#include "cli/nbd/device.h"
#include "cli/nbd/export_list.h"
#include "cli/nbd/nbd_options.h"
#include "cli/nbd/partition.h"
#include "cli/nbd/server_arguments.h"
#include "cli/nbd/socket_label.h"
#include "cli/nbd/sockets.h"
#include "cli/open_arguments.h"
#include "cli/option_error.h"
#include "cli/program.h"
#include "cli/snapshot_source.h"
#include "cli/trace.h"
#include "qcowkit/nbd.h"

namespace qcowkit::cli {

namespace nbd {

namespace {

/// An open image and what it is exported as.
struct OpenedExport {
  ImageName name;
  std::unique_ptr<io::TemporaryFile>
      overlay;  ///< where what clients write goes, if not to the image
  std::unique_ptr<Image> image;
  NbdExport exported;
};

std::string_view without_prefix(std::string_view text, std::string_view prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

/// True where a client's request had better be whole sectors: the rest of one has to be read and
/// encrypted first, or might be what makes another format of an image that was only guessed to be
/// raw.
bool prefers_whole_sectors(const OpenedExport& opened, const ServerArguments& server) {
  const Image& image = *opened.image;
  const bool is_guessed = opened.name.format.empty() && image.format() == "raw";
  return image.is_encrypted() || image.format() == "qcow" ||
         (is_guessed && !server.keeps_writes_aside);
}

std::unique_ptr<Image> open_disk(OpenedExport& opened, const ServerArguments& server,
                                 Console& console) {
  if (server.aio_is_native) io::ask_files_natively(opened.name.node);
  const OpenOptions options = server.open_options();
  if (server.snapshot) {
    return open_source(opened.name, server.objects.of_nodes, options, server.snapshot, console);
  }
  if (server.keeps_writes_aside) {
    opened.overlay = std::make_unique<io::TemporaryFile>();
    return io::open_with_overlay(*opened.overlay, opened.name, server.objects.of_nodes, options);
  }
  if (server.read_only) return open_image(opened.name, server.objects.of_nodes, options);
  return open_writable(opened.name, server.objects.of_nodes, options, console);
}

void require_bitmaps(const Image& image, const std::vector<std::string>& wanted) {
  std::vector<BitmapInfo> bitmaps;
  try {
    bitmaps = image.bitmaps();
  } catch (const Error&) {
    // A format without them: none is found.
  }
  for (const std::string& name : wanted) {
    const bool is_there =
        std::any_of(bitmaps.begin(), bitmaps.end(),
                    [&](const BitmapInfo& bitmap) { return bitmap.name == name; });
    if (!is_there) throw Failure(fmt::format("Bitmap '{}' is not found", name));
  }
}

OpenedExport open_export(const Disk& disk, const ServerArguments& server, Console& console) {
  OpenedExport opened;
  try {
    opened.name = parse_image_name(disk.file, server.image_opts, server.format, &console);
    opened.image = open_disk(opened, server, console);
  } catch (const SnapshotFailure&) {
    throw;
  } catch (const std::exception& e) {
    const std::string_view why =
        without_prefix(e.what(), fmt::format("Could not open '{}': ", disk.file));
    throw Failure(fmt::format("Failed to blk_new_open '{}': {}", disk.file, why));
  }
  NbdExport& exported = opened.exported;
  exported.name = disk.export_name;
  exported.description = server.description;
  exported.image = opened.image.get();
  exported.read_only = server.read_only;
  exported.allocation_depth = server.allocation_depth;
  exported.bitmaps = server.bitmaps;
  if (server.guest_offset == 0 && prefers_whole_sectors(opened, server))
    exported.block_bytes_min = kSectorBytes;
  const std::uint64_t disk_bytes = opened.image->virtual_size();
  if (server.guest_offset > disk_bytes) {
    throw Failure(fmt::format("Offset ({}) cannot be greater than size of the containing file ({})",
                              server.guest_offset, disk_bytes));
  }
  exported.guest_offset = server.guest_offset;
  if (server.partition) {
    const Partition partition = find_partition(*opened.image, *server.partition);
    exported.guest_offset = partition.guest_offset;
    exported.size_bytes = partition.size_bytes;
  }
  require_bitmaps(*opened.image, server.bitmaps);
  return opened;
}

std::shared_ptr<NbdTls> make_tls(const ServerArguments& server) {
  if (!server.tls_credentials) return nullptr;
  const std::string& id = *server.tls_credentials;
  const auto found = server.objects.tls_servers.find(id);
  if (found == server.objects.tls_servers.end()) {
    const std::string why = server.objects.of_nodes.tls_clients.contains(id)
                                ? "Expected TLS credentials for a server endpoint"
                            : server.objects.contains(id)
                                ? fmt::format("Object with id '{}' is not TLS credentials", id)
                                : fmt::format("No TLS credentials with id '{}'", id);
    throw Failure(fmt::format("Failed to get TLS creds: {}", why));
  }
  NbdTlsOptions options = found->second;
  if (server.tls_authorisation) {
    const auto authorisation = server.objects.authorisations.find(*server.tls_authorisation);
    if (authorisation == server.objects.authorisations.end()) {
      throw Failure(fmt::format("No authorisation with id '{}'", *server.tls_authorisation));
    }
    options.authorise = authorisation->second;
  }
  return make_nbd_tls(options);
}

std::atomic<NbdServer*> server_to_stop = nullptr;
std::atomic<std::int64_t> first_asked_at_milliseconds = 0;

/// Signals that come together are one wish: some programs send theirs to the process and to its
/// group.
constexpr std::int64_t kTogetherMilliseconds = 200;

/// The first signal has clients answered, one that comes later does not wait for them.
void stop_server(int /*signal*/) {
  NbdServer* const server = server_to_stop.load();
  if (server == nullptr) return;
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  const std::int64_t now = std::int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000 + 1;
  std::int64_t first = 0;
  const bool is_first = first_asked_at_milliseconds.compare_exchange_strong(first, now);
  if (is_first || now - first < kTogetherMilliseconds) {
    server->request_stop();
  } else {
    server->request_cut_off();
  }
}

/// Lets the signals that end programs end the server in an orderly way, while it lives.
class StopBySignal {
 public:
  explicit StopBySignal(NbdServer& server) {
    server_to_stop = &server;
    struct sigaction action {};
    action.sa_handler = stop_server;
    action.sa_flags = SA_RESTART;
    for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
  }
  ~StopBySignal() {
    for (const int signal : kSignals) std::signal(signal, SIG_IGN);
    server_to_stop = nullptr;
  }
  StopBySignal(const StopBySignal&) = delete;
  StopBySignal& operator=(const StopBySignal&) = delete;

 private:
  static constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};
};

NbdServerOptions server_options(const ServerArguments& server, std::shared_ptr<NbdTls> tls,
                                NbdServer*& running, Console& console) {
  NbdServerOptions options;
  options.connections_max = server.connections_max;
  options.handshake_seconds = server.handshake_seconds;
  options.tls = std::move(tls);
  if (!server.is_persistent) {
    options.on_last_disconnect = [&running] { running->request_stop(); };
  }
  if (server.is_verbose) {
    options.on_problem = [&console](const std::string& message) {
      // One write for each line, whichever thread it comes from.
      Console(console.program()).error(message);
    };
  }
  return options;
}

void close_exports(std::vector<OpenedExport>& exports) {
  for (OpenedExport& opened : exports) close_image(*opened.image, opened.name);
}

int serve(const Arguments& arguments, bool takes_many, Console& console) {
  const ServerArguments server_arguments = read_server_arguments(arguments, takes_many);
  const std::optional<std::string>& device = server_arguments.device;
  std::vector<NbdSocket> sockets = take_activated_sockets(server_arguments.address);
  if (sockets.empty() && !device) require_address(server_arguments.address);
  const std::shared_ptr<NbdTls> tls = make_tls(server_arguments);
  std::unique_ptr<Background> background;
  if (server_arguments.forks) background = std::make_unique<Background>();

  if (sockets.empty() && (!device || server_arguments.address.socket_path)) {
    const SocketLabel label(arguments.value("--selinux-label"));
    sockets = listen_at(server_arguments.address);
  }
  std::vector<OpenedExport> exports;
  for (const Disk& disk : server_arguments.disks) {
    exports.push_back(open_export(disk, server_arguments, console));
  }
  NbdServer* running = nullptr;
  NbdServer server(server_options(server_arguments, tls, running, console));
  running = &server;
  for (const OpenedExport& opened : exports) server.add_export(opened.exported);
  const StopBySignal stop_by_signal(server);
  std::unique_ptr<PidFile> pid_file;
  if (server_arguments.pid_file) pid_file = std::make_unique<PidFile>(*server_arguments.pid_file);
  server.start(std::move(sockets));
  {
    std::unique_ptr<ConnectedDevice> connected;
    if (device) {
      const Disk& disk = server_arguments.disks.front();
      connected = std::make_unique<ConnectedDevice>(*device, server, disk.export_name,
                                                    [&server] { server.request_stop(); });
      if (server_arguments.is_verbose) {
        console.write_error(
            fmt::format("NBD device {} is now connected to {}\n", *device, disk.file));
      }
    }
    console.flush();
    if (background) background->ready();
    server.wait();
  }
  close_exports(exports);
  return 0;
}

int run(const Arguments& arguments, bool takes_many, Console& console) {
  if (arguments.has("--list")) {
    print_export_list(arguments, console);
    return 0;
  }
  if (arguments.has("--disconnect")) {
    if (arguments.positional().size() != 1) throw UsageError("Invalid number of arguments");
    const std::string& device = arguments.positional().front();
    disconnect_device(device);
    console.print("{} disconnected\n", device);
    return 0;
  }
  return serve(arguments, takes_many, console);
}

int run_as_command(const Arguments& arguments, Console& console) {
  if (arguments.has("--version")) {
    print_version(console);
    return 0;
  }
  for (const std::string& trace : arguments.all("--trace")) enable_trace(console.program(), trace);
  return run(arguments, /*takes_many=*/true, console);
}

}  // namespace

}  // namespace nbd

constexpr Command kNbdCommand{
    .name = "nbd",
    .arguments = "FILENAME | NAME=FILENAME...",
    .summary = "serve images over the network block device protocol",
    .description =
        "Serves the disk that FILENAME holds to NBD clients, at a TCP port or a Unix socket, until "
        "the last of them has gone. Several images are served at a time where each has a name: "
        "clients ask for them as nbd://HOST/NAME. All of a disk's clients see the same bytes, and "
        "what a flush covers survives a crash.\n",
    .options = nbd::kOptions,
    .details =
        "Exit codes: 0: the server has ended in an orderly way, all is flushed; 1: an error.\n\n"
        "Examples:\n"
        "  qcow nbd -t -k /run/disk.sock -f qcow2 disk.qcow2\n"
        "  qcow nbd -t -r -e 0 monday=monday.qcow2 tuesday=tuesday.qcow2\n"
        "  qcow nbd -L -b server.example.com\n",
    .check = nbd::check_values,
    .error_exit_code = 1,
    .run = nbd::run_as_command,
};

int run_nbd_program(Words words, Console& console) {
  const auto send_to_help = [&] {
    console.write_error(fmt::format("Try `{} --help' for more information.\n", console.program()));
  };
  const auto look_at = [&](const Arguments& so_far) {
    const Arguments::Given& option = so_far.sequence().back();
    if (option.name == "trace") enable_trace(console.program(), option.value);
    nbd::check_values(so_far);
  };
  try {
    int exit_code = 0;
    const Arguments arguments = parse_in_order(words, nbd::kOptions, LastWord::anything, look_at);
    if (arguments.help_wanted()) {
      print_command_help(console, kNbdCommand, console.program());
    } else if (arguments.has("--version")) {
      print_version(console);
    } else {
      exit_code = nbd::run(arguments, /*takes_many=*/false, console);
    }
    console.finish();
    return exit_code;
  } catch (const HelpText& help) {
    console.write(help.text());
    console.flush();
    return 0;
  } catch (const OptionError& e) {
    console.error(e.systems_words());
    console.write_error(fmt::format("{}: ", console.program()));
    send_to_help();
  } catch (const UsageError& e) {
    console.error(e.what());
    send_to_help();
  } catch (const Failure& e) {
    report(console, e);
  } catch (const std::exception& e) {
    console.error(e.what());
  }
  return 1;
}

}  // namespace qcowkit::cli
