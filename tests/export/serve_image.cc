// A server for one image, for tests and benchmarks with clients of all kinds. Ends when its
// standard input does, or with --once when its last client has gone.
#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "qcowkit/nbd.h"

namespace {

constexpr char kUsage[] =
    "usage: serve_image SOCKET IMAGE [-r] [-A] [-B BITMAP]... [-x NAME] [-f FORMAT] [-n] "
    "[--once]\n";

struct Arguments {
  std::string socket;
  qcowkit::OpenOptions open;
  qcowkit::NbdExport disk;
  std::string image;
  bool once = false;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  if (argc < 3) throw std::runtime_error(kUsage);
  arguments.socket = argv[1];
  arguments.image = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string_view option = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) throw std::runtime_error(kUsage);
      return argv[i];
    };
    if (option == "-r") {
      arguments.disk.read_only = true;
    } else if (option == "-A") {
      arguments.disk.allocation_depth = true;
    } else if (option == "-B") {
      arguments.disk.bitmaps.push_back(value());
    } else if (option == "-x") {
      arguments.disk.name = value();
    } else if (option == "-f") {
      arguments.open.format = value();
    } else if (option == "-n") {
      arguments.open.cache = qcowkit::CacheMode::none;
    } else if (option == "--once") {
      arguments.once = true;
    } else {
      throw std::runtime_error(kUsage);
    }
  }
  return arguments;
}

void serve(Arguments arguments) {
  arguments.open.read_only = arguments.disk.read_only;
  const auto image = qcowkit::Image::open(arguments.image, arguments.open);
  arguments.disk.image = image.get();
  qcowkit::NbdServerOptions options;
  options.on_problem = [](const std::string& problem) { fmt::print(stderr, "{}\n", problem); };
  qcowkit::NbdServer* running = nullptr;
  if (arguments.once) options.on_last_disconnect = [&] { running->request_stop(); };
  qcowkit::NbdServer server(std::move(options));
  running = &server;
  server.add_export(std::move(arguments.disk));
  std::vector<qcowkit::NbdSocket> listening;
  listening.push_back(qcowkit::nbd_listen_unix(arguments.socket));
  server.start(std::move(listening));
  fmt::print("ready\n");
  std::fflush(stdout);
  if (arguments.once) {
    server.wait();
  } else {
    char ignored;
    while (::read(STDIN_FILENO, &ignored, 1) > 0) {
    }
    server.stop();
  }
  image->close();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    serve(parse(argc, argv));
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return EXIT_FAILURE;
  }
}
