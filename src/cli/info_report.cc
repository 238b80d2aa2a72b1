// What `info` tells of an image, as JSON and as text.
#include "cli/info_report.h"

#include <fmt/core.h>

#include <iterator>

#include "base/units.h"
#include "cli/snapshot_list.h"

namespace qcowkit::cli {

namespace {

constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

Json snapshot_json(const SnapshotInfo& snapshot) {
  Json json = Json::object();
  if (snapshot.icount) json["icount"] = *snapshot.icount;
  json["vm-clock-nsec"] = snapshot.vm_clock_nanoseconds % kNanosecondsPerSecond;
  json["name"] = snapshot.name;
  json["date-sec"] = snapshot.date_seconds;
  json["date-nsec"] = snapshot.date_nanoseconds;
  json["vm-clock-sec"] = snapshot.vm_clock_nanoseconds / kNanosecondsPerSecond;
  json["id"] = snapshot.id;
  json["vm-state-size"] = snapshot.vm_state_size_bytes;
  return json;
}

Json bitmap_json(const BitmapInfo& bitmap) {
  Json flags = Json::array();
  if (bitmap.in_use) flags.push_back("in-use");
  if (bitmap.automatic) flags.push_back("auto");
  return {{"flags", std::move(flags)},
          {"name", bitmap.name},
          {"granularity", bitmap.granularity_bytes}};
}

/// A LUKS volume's header; inside of another format, it says what it is.
Json luks_json(const LuksInfo& luks, bool is_inside) {
  Json json = Json::object();
  json["ivgen-alg"] = luks.ivgen_alg;
  json["hash-alg"] = luks.hash_alg;
  json["cipher-alg"] = luks.cipher_alg;
  json["uuid"] = luks.uuid;
  if (!luks.ivgen_hash_alg.empty()) json["ivgen-hash-alg"] = luks.ivgen_hash_alg;
  if (is_inside) json["format"] = "luks";
  json["cipher-mode"] = luks.cipher_mode;
  Json& slots = json["slots"] = Json::array();
  for (const LuksInfo::Slot& slot : luks.slots) {
    Json entry = Json::object();
    entry["active"] = slot.active;
    if (slot.active) entry["iters"] = slot.iterations;
    entry["key-offset"] = slot.key_offset_bytes;
    if (slot.active) entry["stripes"] = slot.stripes;
    slots.push_back(std::move(entry));
  }
  json["payload-offset"] = luks.payload_offset_bytes;
  json["master-key-iters"] = luks.master_key_iterations;
  return json;
}

/// What only qcow2 images have to say; version 2 images say less.
Json qcow2_json(const ImageInfo& info) {
  const ImageInfo::Qcow2& qcow2 = *info.qcow2;
  Json json = Json::object();
  json["compat"] = qcow2.version == 2 ? "0.10" : "1.1";
  json["compression-type"] = qcow2.compression == CompressionType::zstd ? "zstd" : "zlib";
  if (qcow2.version > 2) json["lazy-refcounts"] = qcow2.lazy_refcounts;
  if (!qcow2.bitmaps.empty()) {
    Json& bitmaps = json["bitmaps"] = Json::array();
    for (const BitmapInfo& bitmap : qcow2.bitmaps) bitmaps.push_back(bitmap_json(bitmap));
  }
  json["refcount-bits"] = qcow2.refcount_bits;
  if (info.encryption == EncryptionFormat::aes) {
    json["encrypt"] = {{"format", "aes"}};
  } else if (info.luks) {
    json["encrypt"] = luks_json(*info.luks, true);
  }
  if (!qcow2.data_file.empty()) {
    json["data-file"] = qcow2.data_file;
    json["data-file-raw"] = qcow2.data_file_raw;
  }
  if (qcow2.version > 2) {
    json["corrupt"] = qcow2.corrupt;
    json["extended-l2"] = qcow2.extended_l2;
  }
  return json;
}

/// What only images of this format have to say; null if they have nothing.
Json format_specific_json(const ImageInfo& info) {
  if (info.qcow2) return qcow2_json(info);
  if (info.luks) return luks_json(*info.luks, false);
  return nullptr;
}

/// What only the JSON form has: the text is that of the older release.
void add_newer_keys(Json& specific) {
  if (specific.contains("ivgen-alg")) specific["detached-header"] = false;
  if (specific.contains("encrypt")) add_newer_keys(specific["encrypt"]);
}

/// True for what has nothing to tell but what its file tells.
bool is_without_format(const ImageInfo& info) {
  return info.format == "raw" || info.format == "file";
}

}  // namespace

Json info_json(const ImageInfo& info, const NodeReport& nodes) {
  Json json = Json::object();
  if (!info.backing_format.empty()) json["backing-filename-format"] = info.backing_format;
  if (info.qcow2 && !info.qcow2->snapshots.empty()) {
    Json& snapshots = json["snapshots"] = Json::array();
    for (const auto& snapshot : info.qcow2->snapshots) snapshots.push_back(snapshot_json(snapshot));
  }
  json["virtual-size"] = info.virtual_size_bytes;
  json["filename"] = info.filename;
  if (info.cluster_size_bytes) json["cluster-size"] = *info.cluster_size_bytes;
  json["format"] = info.format;
  if (info.allocated_bytes) json["actual-size"] = *info.allocated_bytes;
  if (nodes.limits) json["limits"] = *nodes.limits;
  if (Json specific = format_specific_json(info); !specific.is_null()) {
    add_newer_keys(specific);
    json["format-specific"] = {{"type", info.format}, {"data", std::move(specific)}};
  } else if (is_without_format(info) && !nodes.file_specific.is_null()) {
    json["format-specific"] = nodes.file_specific;
  }
  if (!info.backing_file.empty()) json["full-backing-filename"] = info.backing_file_resolved;
  if (info.encrypted) json["encrypted"] = true;
  if (!info.backing_file.empty()) json["backing-filename"] = info.backing_file;
  json["dirty-flag"] = info.dirty;
  // Last: scripts that search the text for "virtual-size" are to find the disk's, not the file's.
  json["children"] = nodes.children;
  return json;
}

std::string info_text(const ImageInfo& info, const NodeReport& nodes) {
  std::string out;
  const auto append = std::back_inserter(out);
  fmt::format_to(append, "image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\n", info.filename,
                 info.format, human_size(info.virtual_size_bytes), info.virtual_size_bytes);
  fmt::format_to(append, "disk size: {}\n",
                 info.allocated_bytes ? human_size(*info.allocated_bytes) : "unavailable");
  if (info.encrypted) out += "encrypted: yes\n";
  if (info.cluster_size_bytes) {
    fmt::format_to(append, "cluster_size: {}\n", *info.cluster_size_bytes);
  }
  if (info.dirty) out += "cleanly shut down: no\n";
  if (!info.backing_file.empty()) {
    fmt::format_to(append, "backing file: {}", info.backing_file);
    if (info.backing_file_resolved.empty()) {
      out += " (cannot determine actual path)";
    } else if (info.backing_file_resolved != info.backing_file) {
      fmt::format_to(append, " (actual path: {})", info.backing_file_resolved);
    }
    out += '\n';
  }
  if (!info.backing_format.empty()) {
    fmt::format_to(append, "backing file format: {}\n", info.backing_format);
  }
  if (info.qcow2) out += snapshot_list_text(info.qcow2->snapshots);
  if (const Json specific = format_specific_json(info); !specific.is_null()) {
    out += "Format specific information:\n" + plain_text(specific, 1);
  }
  if (nodes.limits) out += "Block limits:\n" + plain_text(*nodes.limits, 1);
  return out;
}

}  // namespace qcowkit::cli
