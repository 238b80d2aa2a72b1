// Nodes without children: files, devices, and what has no bytes at all.
#include <fmt/core.h>

#include <limits>

#include "image/storage_drivers.h"
#include "storage/file_driver.h"
#include "storage/null_storage.h"

namespace qcowkit::drivers {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

enum class Aio { threads, native, io_uring };

Aio read_aio(NodeReader& reader) {
  const std::string aio = reader.take_text("aio").value_or("threads");
  if (aio == "threads") return Aio::threads;
  if (aio == "native") return Aio::native;
  if (aio == "io_uring") return Aio::io_uring;
  throw invalid(fmt::format("invalid parameter value: {}", aio));
}

void require_sense(Aio aio, const OpenOptions& options) {
  const bool direct = options.cache == CacheMode::none || options.cache == CacheMode::directsync;
  if (aio == Aio::native && !direct) {
    throw invalid(
        "aio=native was specified, but it requires cache.direct=on, which was not specified.");
  }
}

Locking read_locking(NodeReader& reader, Locking inherited) {
  const std::string locking = reader.take_text("locking").value_or("auto");
  if (locking == "auto" || locking == "on") return inherited;
  if (locking != "off") throw invalid(fmt::format("invalid parameter value: {}", locking));
  return inherited == Locking::force_share ? inherited : Locking::off;
}

OpenedNode open_path(NodeOpener& opener, NodeReader& reader, const OpenOptions& options,
                     std::string_view driver) {
  const std::string path = reader.take_name("filename");
  const Aio aio = read_aio(reader);
  const Locking locking = read_locking(reader, options.locking);
  if (const auto manager = reader.take_text("pr-manager")) {
    throw invalid(fmt::format("No persistent reservation manager with id '{}'", *manager));
  }
  reader.take_boolean("drop-cache");
  reader.take_boolean("x-check-cache-dropped");
  reader.take_number("aio-max-batch");
  if (path.empty())
    throw invalid(fmt::format("The '{}' block driver requires a file name", driver));

  opener.enter_file(options, path);
  require_kind_for_driver(path, driver, options.read_only);
  OpenedNode opened;
  opened.storage = qcowkit::open_file(path, {.read_only = options.read_only,
                                             .create = false,
                                             .cache = options.cache,
                                             .locking = locking});
  require_sense(aio, options);  // of a file that is there
  LabelBuilder label(driver);
  label.add("filename", path);
  opened.label = {.exact = path, .json = label.json(), .location = path};
  return opened;
}

OpenedNode open_null_as(const NodeOpener& opener, NodeReader& reader, const OpenOptions& options,
                        std::string_view driver) {
  const std::string name = fmt::format("{}://", driver);
  opener.enter_other(options, name);
  NullOptions null_options;
  if (const auto size = reader.take_size("size")) null_options.size_bytes = *size;
  const std::uint64_t latency = reader.take_number("latency-ns").value_or(0);
  if (latency > std::numeric_limits<std::int64_t>::max()) throw invalid("latency-ns is invalid");
  null_options.latency_nanoseconds = static_cast<std::int64_t>(latency);
  null_options.read_zeroes = reader.take_boolean("read-zeroes").value_or(false);

  OpenedNode opened;
  opened.storage = make_null_storage(null_options, name);
  LabelBuilder label(driver);
  const bool is_plain = !label.add_strong_options(require_driver(driver), reader.all());
  opened.label = {.exact = is_plain ? name : "", .json = label.json(), .location = name};
  return opened;
}

}  // namespace

OpenedNode open_file(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  return open_path(opener, reader, options, "file");
}
OpenedNode open_host_device(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  return open_path(opener, reader, options, "host_device");
}
OpenedNode open_host_cdrom(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  return open_path(opener, reader, options, "host_cdrom");
}
OpenedNode open_null(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  return open_null_as(opener, reader, options, "null-co");
}
OpenedNode open_null_aio(NodeOpener& opener, NodeReader& reader, const OpenOptions& options) {
  return open_null_as(opener, reader, options, "null-aio");
}

}  // namespace qcowkit::drivers
