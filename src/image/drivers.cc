// The table of drivers.
#include "image/drivers.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "image/storage_drivers.h"
#include "qcowkit/node.h"

namespace qcowkit {

namespace {

constexpr std::array<std::string_view, 2> kRawStrong = {"offset", "size"};
constexpr std::array<std::string_view, 1> kQcowStrong = {"encrypt.key-secret"};
constexpr std::array<std::string_view, 1> kLuksStrong = {"key-secret"};
constexpr std::array<std::string_view, 2> kNullStrong = {"size", "read-zeroes"};
constexpr std::array<std::string_view, 9> kBlkdebugStrong = {
    "config",      "align",       "max-transfer", "opt-write-zero", "max-write-zero",
    "opt-discard", "max-discard", "set-state.",   "inject-error."};
constexpr std::array<std::string_view, 12> kNbdStrong = {
    "server.",          "path",         "host",         "port",
    "export",           "tls-creds",    "tls-hostname", "tls",
    "tls-certificates", "tls-psk-file", "tls-username", "tls-verify-peer"};
constexpr std::array<std::string_view, 4> kQuorumStrong = {"vote-threshold", "blkverify",
                                                           "rewrite-corrupted", "read-pattern"};
constexpr std::array<std::string_view, 1> kThrottleStrong = {"throttle-group"};

constexpr std::array kDrivers = {
    Driver{"raw", nullptr, false, kRawStrong},
    Driver{"qcow", nullptr, false, kQcowStrong},
    Driver{"qcow2", nullptr, false, kQcowStrong},
    Driver{"luks", nullptr, false, kLuksStrong},
    Driver{"file", drivers::open_file, true, {}},
    Driver{"host_device", drivers::open_host_device, true, {}},
    Driver{"host_cdrom", drivers::open_host_cdrom, true, {}},
    Driver{"nbd", drivers::open_nbd, true, kNbdStrong},
    Driver{"null-co", drivers::open_null, true, kNullStrong},
    Driver{"null-aio", drivers::open_null_aio, true, kNullStrong},
    Driver{"blkdebug", drivers::open_blkdebug, true, kBlkdebugStrong},
    Driver{"blkverify", drivers::open_blkverify, true, {}},
    Driver{"compress", drivers::open_compress, false, {}},
    Driver{"copy-on-read", drivers::open_copy_on_read, false, {}},
    Driver{"preallocate", drivers::open_preallocate, false, {}},
    Driver{"quorum", drivers::open_quorum, false, kQuorumStrong},
    Driver{"throttle", drivers::open_throttle, false, kThrottleStrong},
};

}  // namespace

const Driver* find_driver(std::string_view name) noexcept {
  const auto found = std::ranges::find(kDrivers, name, &Driver::name);
  return found == kDrivers.end() ? nullptr : &*found;
}

const Driver& require_driver(std::string_view name) {
  const Driver* const driver = find_driver(name);
  if (driver != nullptr) return *driver;
  throw Error(Errc::unsupported, fmt::format("Unknown driver '{}'", name));
}

const Driver* find_protocol(std::string_view name) noexcept {
  // Schemes of NBD's URIs.
  for (const std::string_view scheme : {"nbd+tcp", "nbd+unix", "nbds", "nbds+tcp", "nbds+unix"}) {
    if (name == scheme) name = "nbd";
  }
  const Driver* const found = find_driver(name);
  return found != nullptr && found->is_protocol ? found : nullptr;
}

bool is_protocol(std::string_view name) noexcept { return find_protocol(name) != nullptr; }

std::vector<std::string_view> driver_names() {
  std::vector<std::string_view> names;
  for (const Driver& driver : kDrivers) names.push_back(driver.name);
  return names;
}

}  // namespace qcowkit
