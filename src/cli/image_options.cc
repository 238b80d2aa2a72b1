// What --image-opts and "json:" names say of an image: "driver=qcow2,file.filename=x,...".
#include "cli/image_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "cli/failure.h"
#include "cli/format_options.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

bool boolean_value(std::string_view name, std::string_view value) {
  const std::optional<bool> flag = parse_boolean(value);
  if (!flag) throw Failure(fmt::format("Parameter '{}' expects 'on' or 'off'", name));
  return *flag;
}

void set_overlap_template(ImageOptions& options, std::string_view name, const std::string& value) {
  if (value != "none" && value != "constant" && value != "cached" && value != "all") {
    throw Failure(
        fmt::format("Unsupported value '{}' for qcow2 option 'overlap-check'. Allowed are any of "
                    "the following: none, constant, cached, all",
                    value));
  }
  if (options.overlap_template && *options.overlap_template != value) {
    throw Failure(
        fmt::format("Conflicting values for qcow2 options 'overlap-check' ('{}') and "
                    "'overlap-check.template' ('{}')",
                    name == "overlap-check" ? value : *options.overlap_template,
                    name == "overlap-check" ? *options.overlap_template : value));
  }
  options.overlap_template = value;
}

struct OverlapKind {
  std::string_view name;
  std::uint32_t bit;
};
constexpr std::array kOverlapKinds = {
    OverlapKind{"overlap-check.main-header", overlap::kMainHeader},
    OverlapKind{"overlap-check.active-l1", overlap::kActiveL1},
    OverlapKind{"overlap-check.active-l2", overlap::kActiveL2},
    OverlapKind{"overlap-check.refcount-table", overlap::kRefcountTable},
    OverlapKind{"overlap-check.refcount-block", overlap::kRefcountBlock},
    OverlapKind{"overlap-check.snapshot-table", overlap::kSnapshotTable},
    OverlapKind{"overlap-check.inactive-l1", overlap::kInactiveL1},
    OverlapKind{"overlap-check.inactive-l2", overlap::kInactiveL2},
    OverlapKind{"overlap-check.bitmap-directory", overlap::kBitmapDirectory},
};

void set_overlap_kind(ImageOptions& options, std::string_view name, const std::string& value) {
  const auto kind = std::ranges::find(kOverlapKinds, name, &OverlapKind::name);
  (boolean_value(name, value) ? options.overlap_on : options.overlap_off) |= kind->bit;
}

template <bool DiscardPassThrough::*kFreedBy>
void set_discard(ImageOptions& options, std::string_view name, const std::string& value) {
  options.discard_pass_through.*kFreedBy = boolean_value(name, value);
}

/// For what is read and checked but changes nothing here.
void check_boolean(ImageOptions&, std::string_view name, const std::string& value) {
  boolean_value(name, value);
}
void check_nothing(ImageOptions&, std::string_view, const std::string&) {}
void check_size(ImageOptions&, std::string_view name, const std::string& value) {
  parse_size_parameter(name, value);
}

using Apply = void (*)(ImageOptions&, std::string_view name, const std::string& value);

struct Option {
  std::string_view driver;  ///< empty: every driver has it
  std::string_view name;
  Apply apply;
};

constexpr Apply kSetKeySecret = [](ImageOptions& o, std::string_view, const std::string& v) {
  o.key_secret = v;
};
constexpr Apply kSetEncryption = [](ImageOptions& o, std::string_view, const std::string& v) {
  o.encryption = v;
};

constexpr std::array kOptions = {
    Option{"", "driver", [](auto& o, auto, const auto& v) { o.driver = v; }},
    Option{"", "filename", [](auto& o, auto, const auto& v) { o.own_path = v; }},
    Option{"", "file.filename", [](auto& o, auto, const auto& v) { o.file_path = v; }},
    Option{"", "file.driver",
           [](auto&, auto, const auto& v) {
             if (v != "file") throw Failure(fmt::format("Unknown driver '{}'", v));
           }},
    Option{"", "file.locking",
           [](auto& o, auto name, const auto& v) {
             if (v != "auto") o.without_locks = !boolean_value(name, v);
           }},
    Option{"", "file.aio", check_nothing},
    Option{"", "node-name", check_nothing},
    Option{"", "auto-read-only", check_boolean},
    Option{"", "read-only",
           [](auto& o, auto n, const auto& v) { o.read_only = boolean_value(n, v); }},
    Option{"", "force-share",
           [](auto& o, auto n, const auto& v) { o.force_share = boolean_value(n, v); }},
    Option{"", "cache.direct",
           [](auto& o, auto n, const auto& v) { o.cache_direct = boolean_value(n, v); }},
    Option{"", "cache.no-flush",
           [](auto& o, auto n, const auto& v) { o.cache_no_flush = boolean_value(n, v); }},
    Option{"qcow2", "encrypt.format", kSetEncryption},
    Option{"qcow2", "encrypt.key-secret", kSetKeySecret},
    Option{"qcow", "encrypt.format", kSetEncryption},
    Option{"qcow", "encrypt.key-secret", kSetKeySecret},
    Option{"luks", "key-secret", kSetKeySecret},
    Option{"qcow2", "lazy-refcounts", check_boolean},
    Option{"qcow2", "cache-size",
           [](auto& o, auto n, const auto& v) { o.cache_bytes = parse_size_parameter(n, v); }},
    Option{"qcow2", "l2-cache-size",
           [](auto& o, auto n, const auto& v) { o.l2_cache_bytes = parse_size_parameter(n, v); }},
    Option{"qcow2", "refcount-cache-size",
           [](auto& o, auto n, const auto& v) {
             o.refcount_cache_bytes = parse_size_parameter(n, v);
           }},
    Option{"qcow2", "l2-cache-entry-size", check_size},
    Option{"qcow2", "cache-clean-interval", check_size},
    Option{"qcow2", "pass-discard-request", set_discard<&DiscardPassThrough::request>},
    Option{"qcow2", "pass-discard-snapshot", set_discard<&DiscardPassThrough::snapshot>},
    Option{"qcow2", "pass-discard-other", set_discard<&DiscardPassThrough::other>},
    Option{"qcow2", "overlap-check", set_overlap_template},
    Option{"qcow2", "overlap-check.template", set_overlap_template},
    Option{"qcow2", "overlap-check.main-header", set_overlap_kind},
    Option{"qcow2", "overlap-check.active-l1", set_overlap_kind},
    Option{"qcow2", "overlap-check.active-l2", set_overlap_kind},
    Option{"qcow2", "overlap-check.refcount-table", set_overlap_kind},
    Option{"qcow2", "overlap-check.refcount-block", set_overlap_kind},
    Option{"qcow2", "overlap-check.snapshot-table", set_overlap_kind},
    Option{"qcow2", "overlap-check.inactive-l1", set_overlap_kind},
    Option{"qcow2", "overlap-check.inactive-l2", set_overlap_kind},
    Option{"qcow2", "overlap-check.bitmap-directory", set_overlap_kind},
};

constexpr std::string_view kBackingPrefix = "backing.";

bool has_backing(std::string_view driver) {
  return driver.empty() || find_option(create_options(driver), "backing_file") != nullptr;
}

Failure unknown_option(std::string_view driver, std::string_view name) {
  if (name.starts_with("file.")) {
    return Failure(fmt::format("Block protocol 'file' doesn't support the option '{}'",
                               name.substr(name.find('.') + 1)));
  }
  if (driver.empty()) return Failure(fmt::format("the option '{}' is not supported", name));
  return Failure(fmt::format("Block format '{}' does not support the option '{}'", driver, name));
}

const Option& find_image_option(std::string_view driver, std::string_view name) {
  for (const Option& option : kOptions) {
    const bool fits = option.driver.empty() || driver.empty() || option.driver == driver;
    if (fits && option.name == name) return option;
  }
  throw unknown_option(driver, name);
}

void check_cache_sizes(const ImageOptions& options) {
  if (options.cache_bytes == 0) return;
  if (options.l2_cache_bytes != 0 && options.refcount_cache_bytes != 0) {
    throw Failure(
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  }
  if (options.l2_cache_bytes > options.cache_bytes) {
    throw Failure("l2-cache-size may not exceed cache-size");
  }
  if (options.refcount_cache_bytes > options.cache_bytes) {
    throw Failure("refcount-cache-size may not exceed cache-size");
  }
}

/// Members of members become keys with dots: {"file": {"filename": "x"}} is file.filename=x.
void flatten(const Json& object, const std::string& prefix, std::vector<KeyValue>& options) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      flatten(value, prefix + key + '.', options);
    } else if (value.is_string()) {
      options.push_back({prefix + key, value.get<std::string>()});
    } else if (value.is_boolean()) {
      options.push_back({prefix + key, value.get<bool>() ? "on" : "off"});
    } else if (value.is_null()) {
      options.push_back({prefix + key, ""});
    } else {
      options.push_back({prefix + key, value.dump()});
    }
  }
}

CacheMode cache_mode(const ImageOptions& options, CacheMode wanted) {
  if (options.cache_no_flush) return CacheMode::unsafe;
  if (!options.cache_direct) return wanted;
  return wanted == CacheMode::writethrough ? CacheMode::directsync : CacheMode::none;
}

std::uint32_t overlap_checks(const ImageOptions& options) {
  const std::string text = options.overlap_template.value_or("cached");
  const std::uint32_t chosen = text == "none"       ? overlap::kNone
                               : text == "constant" ? overlap::kConstant
                               : text == "cached"   ? overlap::kCached
                                                    : overlap::kAll;
  return (chosen | options.overlap_on) & ~options.overlap_off;
}

}  // namespace

ImageOptions parse_image_options(const std::vector<KeyValue>& list) {
  ImageOptions options;
  for (const KeyValue& entry : list) {
    if (entry.key == "driver") options.driver = entry.value;
  }
  std::vector<KeyValue> backing;
  for (const auto& [key, value] : list) {
    if (key == "backing" && has_backing(options.driver)) {
      if (!value.empty()) {
        throw Failure(
            fmt::format("Could not open backing file: Cannot find device='{0}' nor "
                        "node-name='{0}'",
                        value));
      }
      options.without_backing = true;
    } else if (key.starts_with(kBackingPrefix) && has_backing(options.driver)) {
      if (backing.empty()) options.first_backing_option = key;
      backing.push_back({key.substr(kBackingPrefix.size()), value});
    } else {
      find_image_option(options.driver, key).apply(options, key, value);
    }
  }
  if (!backing.empty()) {
    options.backing = std::make_shared<ImageOptions>(parse_image_options(backing));
  }
  check_cache_sizes(options);
  return options;
}

std::vector<KeyValue> parse_json_options(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) throw Failure("Could not parse the JSON options");
  std::vector<KeyValue> options;
  flatten(json, "", options);
  return options;
}

std::optional<std::string> ImageOptions::path() const {
  if (is_bare_file()) {
    if (!own_path) throw Failure("driver 'file' needs the option 'filename'");
    if (file_path) throw Failure("driver 'file' does not support the option 'file.filename'");
    return own_path;
  }
  if (own_path) throw Failure("the option 'filename' needs driver=file; use 'file.filename'");
  return file_path;
}

void ImageOptions::apply(const Secrets& secrets, OpenOptions& options) const {
  options.format = format();
  if (key_secret) options.secret = find_secret(secrets, *key_secret);
  options.l2_cache_bytes = l2_cache_bytes;
  options.refcount_cache_bytes = refcount_cache_bytes;
  if (cache_bytes != 0) {
    if (l2_cache_bytes != 0) {
      options.refcount_cache_bytes = cache_bytes - l2_cache_bytes;
    } else {
      options.l2_cache_bytes = cache_bytes - refcount_cache_bytes;
    }
  }
  options.discard_pass_through = discard_pass_through;
  options.overlap_checks = overlap_checks(*this);
  options.cache = cache_mode(*this, options.cache);
  if (without_locks) options.locking = Locking::off;
  if (force_share) options.locking = Locking::force_share;
  if (force_share && !options.read_only) {
    throw Failure("force-share=on can only be used with read-only images");
  }
  if (read_only && !options.read_only) throw Failure("Block node is read-only");
  if (without_backing) options.open_backing = false;
  if (backing) {
    OpenOptions of_backing = options;
    of_backing.read_only = true;
    of_backing.secret = nullptr;
    of_backing.snapshot = {};
    of_backing.backing = nullptr;
    of_backing.backing_file.clear();
    backing->apply(secrets, of_backing);
    options.backing = std::make_shared<const OpenOptions>(std::move(of_backing));
    options.backing_file = backing->path().value_or("");
  }
}

std::string key_secret_option(std::string_view format) {
  return fmt::format("{}key-secret", encryption_prefix(format));
}

std::string shown_name(const ImageOptions& options, const std::string& path,
                       const std::string& format) {
  if (!options.key_secret) return path;
  const Json file = {{"driver", "file"}, {"filename", path}};
  const std::string key = key_secret_option(format);
  Json name = Json::object();
  if (key.find('.') != key.npos) name[key] = *options.key_secret;
  name["driver"] = format;
  name["file"] = file;
  if (key.find('.') == key.npos) name[key] = *options.key_secret;
  return "json:" + json_line(name);
}

}  // namespace qcowkit::cli
