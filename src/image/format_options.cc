#include "image/format_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

namespace qcowkit {

namespace {

Error invalid(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

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

struct OverlapTemplate {
  std::string_view name;
  std::uint32_t checks;
};
constexpr std::array kOverlapTemplates = {
    OverlapTemplate{"none", overlap::kNone},
    OverlapTemplate{"constant", overlap::kConstant},
    OverlapTemplate{"cached", overlap::kCached},
    OverlapTemplate{"all", overlap::kAll},
};

void read_overlap_options(NodeReader& reader, OpenOptions& options) {
  const std::optional<std::string> short_name = reader.take_text("overlap-check");
  const std::optional<std::string> long_name = reader.take_text("overlap-check.template");
  if (short_name && long_name && *short_name != *long_name) {
    throw invalid(
        fmt::format("Conflicting values for qcow2 options 'overlap-check' ('{}') and "
                    "'overlap-check.template' ('{}')",
                    *short_name, *long_name));
  }
  if (const std::optional<std::string>& name = short_name ? short_name : long_name) {
    const auto found = std::ranges::find(kOverlapTemplates, *name, &OverlapTemplate::name);
    if (found == kOverlapTemplates.end()) {
      throw invalid(
          fmt::format("Unsupported value '{}' for qcow2 option 'overlap-check'. Allowed are any "
                      "of the following: none, constant, cached, all",
                      *name));
    }
    options.overlap_checks = found->checks;
  }
  for (const OverlapKind& kind : kOverlapKinds) {
    const std::optional<bool> wanted = reader.take_boolean(kind.name);
    if (!wanted) continue;
    if (*wanted) {
      options.overlap_checks |= kind.bit;
    } else {
      options.overlap_checks &= ~kind.bit;
    }
  }
}

void read_cache_sizes(NodeReader& reader, OpenOptions& options) {
  const std::optional<std::uint64_t> both = reader.take_size("cache-size");
  const std::optional<std::uint64_t> l2 = reader.take_size("l2-cache-size");
  const std::optional<std::uint64_t> refcounts = reader.take_size("refcount-cache-size");
  if (l2) options.l2_cache_bytes = *l2;
  if (refcounts) options.refcount_cache_bytes = *refcounts;
  if (const auto entry = reader.take_size("l2-cache-entry-size")) {
    options.l2_cache_entry_bytes = *entry;
  }
  if (!both) return;
  if (l2 && refcounts) {
    throw invalid(
        "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
  }
  if (l2 && *l2 > *both) throw invalid("l2-cache-size may not exceed cache-size");
  if (refcounts && *refcounts > *both) {
    throw invalid("refcount-cache-size may not exceed cache-size");
  }
  if (l2) {
    options.refcount_cache_bytes = *both - *l2;
  } else {
    options.l2_cache_bytes = *both - refcounts.value_or(0);
  }
}

}  // namespace

void read_qcow2_options(NodeReader& reader, OpenOptions& options) {
  read_cache_sizes(reader, options);
  if (const auto interval = reader.take_number("cache-clean-interval")) {
    if (*interval > std::numeric_limits<std::uint32_t>::max()) {
      throw invalid("Cache clean interval too big");
    }
    options.cache_clean_interval_seconds = static_cast<std::uint32_t>(*interval);
  }
  if (const auto lazy = reader.take_boolean("lazy-refcounts")) options.lazy_refcounts = lazy;
  read_overlap_options(reader, options);
  DiscardPassThrough& discard = options.discard_pass_through;
  discard.request = reader.take_boolean("pass-discard-request").value_or(discard.request);
  discard.snapshot = reader.take_boolean("pass-discard-snapshot").value_or(discard.snapshot);
  discard.other = reader.take_boolean("pass-discard-other").value_or(discard.other);
}

EncryptionChoice read_encryption_options(NodeReader& reader, const std::string& prefix) {
  EncryptionChoice choice;
  if (!prefix.empty()) choice.format = reader.take_text(prefix + "format");
  choice.key_secret = reader.take_text(prefix + "key-secret");
  return choice;
}

void find_passphrase(const EncryptionChoice& choice, const std::string& prefix,
                     OpenOptions& options) {
  if (options.unlock == Unlock::never) return;
  if (choice.key_secret) {
    options.secret = nullptr;
    if (options.objects) {
      const auto found = options.objects->secrets.find(*choice.key_secret);
      if (found != options.objects->secrets.end()) options.secret = found->second;
    }
    if (!options.secret) {
      throw invalid(fmt::format("No secret with id '{}'", *choice.key_secret));
    }
  }
  if (!options.secret && options.unlock == Unlock::required) {
    throw invalid(fmt::format("Parameter '{}key-secret' is required for cipher", prefix));
  }
}

void require_encryption(const EncryptionChoice& choice, EncryptionFormat found) {
  if (!choice.format) return;
  if (found == EncryptionFormat::none) {
    throw invalid(fmt::format("No encryption in image header, but options specified format '{}'",
                              *choice.format));
  }
  const std::string_view name = found == EncryptionFormat::aes ? "aes" : "luks";
  if (*choice.format == name) return;
  throw invalid(fmt::format("Header reported '{}' encryption format but options specify '{}'", name,
                            *choice.format));
}

void require_encryption_options_known(const NodeReader& reader) {
  const NodeOptions left = reader.left().child("encrypt");
  if (left.empty()) return;
  throw invalid(fmt::format("Parameter '{}' is unexpected", left.values().begin()->first));
}

}  // namespace qcowkit
