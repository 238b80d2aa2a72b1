// What newer releases of the reference tell of an image, in JSON: the file that it lies in, and how
// requests to both are best cut.
#include "cli/node_report.h"

#include <unistd.h>

#include <climits>
#include <filesystem>

#include "base/sector.h"
#include "cli/file_attributes.h"
#include "cli/format_options.h"

namespace qcowkit::cli {

namespace {

Json file_specific(const std::string& path) {
  Json data = Json::object();
  if (const auto hint = extent_size_hint_bytes(path)) data["extent-size-hint"] = *hint;
  return {{"type", "file"}, {"data", std::move(data)}};
}

/// `unit_bytes` is what is allocated and given back at a time; 0: single bytes.
Json limits_of(const Storage& storage, std::uint64_t unit_bytes) {
  Json json = Json::object();
  json["request-alignment"] = storage.alignment();
  if (unit_bytes != 0) {
    json["discard-alignment"] = unit_bytes;
    json["write-zeroes-alignment"] = unit_bytes;
  }
  json["max-iov"] = IOV_MAX;
  json["min-mem-alignment"] = storage.alignment();
  json["opt-mem-alignment"] = ::sysconf(_SC_PAGESIZE);
  return json;
}

Json describe_file(const Storage& storage, bool with_limits) {
  std::error_code ignored;
  const bool is_device = std::filesystem::is_block_file(storage.name(), ignored);
  Json json = Json::object();
  json["children"] = Json::array();
  json["virtual-size"] = (storage.size() + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  json["filename"] = storage.name();
  json["format"] = is_device ? "host_device" : "file";
  json["actual-size"] = storage.allocated_bytes();
  if (with_limits) json["limits"] = limits_of(storage, 0);
  if (!is_device) json["format-specific"] = file_specific(storage.name());
  json["dirty-flag"] = false;
  return json;
}

}  // namespace

NodeReport report_nodes(const Image& image, std::string_view driver, bool with_limits) {
  const Storage& storage = image.storage();
  NodeReport report;
  if (with_limits) report.limits = limits_of(storage, image.cluster_size());
  std::error_code ignored;
  if (!std::filesystem::exists(storage.name(), ignored)) return report;
  report.file_specific = file_specific(storage.name());
  if (is_known_format(driver)) {
    report.children.push_back({{"name", "file"}, {"info", describe_file(storage, with_limits)}});
  }
  return report;
}

}  // namespace qcowkit::cli
