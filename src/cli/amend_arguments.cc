// The -o options that change an image.
#include "cli/amend_arguments.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/sector.h"
#include "cli/failure.h"
#include "cli/key_values.h"
#include "cli/option_values.h"

namespace qcowkit::cli {

namespace {

/// True if a new image could be made with these options.
bool are_creation_options(std::string_view format, std::string_view list) {
  std::vector<FormatOption> known;
  for (const FormatOption& option : create_options(format)) {
    if (!option.belongs_to_file) known.push_back(option);
  }
  try {
    static_cast<void>(OptionValues(known, list));
    return true;
  } catch (const Failure&) {
    return false;
  }
}

/// Options that exist, but only for new images.
void refuse_creation_options(std::string_view format, std::string_view list) {
  for (const KeyValue& entry : parse_key_values(list)) {
    if (find_option(amend_options(format), entry.key) != nullptr) continue;
    throw Failure(fmt::format("Invalid parameter '{}'{}", entry.key,
                              are_creation_options(format, list)
                                  ? "\nThis option is only supported for image creation"
                                  : ""));
  }
}

std::uint32_t parse_version(std::string_view text) {
  if (text == "v2" || text == "0.10") return 2;
  if (text == "v3" || text == "1.1") return 3;
  throw Failure(fmt::format("Unknown compatibility level {}", text));
}

/// Only what is so already can be said of a backing file.
void check_backing_file(const OptionValues& values, const Image& image, std::string_view program) {
  const std::optional<std::string> file = values.get("backing_file");
  const std::optional<std::string> format = values.get("backing_fmt");
  if (!file && !format) return;
  const ImageInfo info = image.info();
  const bool is_so_already = file.value_or("") == info.backing_file &&
                             format.value_or("") == info.backing_format &&
                             !info.backing_file.empty();
  if (is_so_already) return;
  throw Failure(
      fmt::format("Cannot amend the backing file\nYou can use '{} rebase' instead.", program));
}

std::uint64_t size_of(const OptionValues& values) {
  const std::uint64_t size = values.number("size").value_or(0);
  if (size > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    throw Failure("Image size cannot be negative");
  }
  if (size % kSectorBytes != 0) throw Failure("The new size must be a multiple of 512");
  return size;
}

/// Which key slots are to change, and how. The options' names start with `prefix`.
class KeySlotArguments {
 public:
  KeySlotArguments(std::string_view prefix, const OptionValues& values)
      : prefix_(prefix), values_(values) {}

  bool any_given() const {
    return std::ranges::any_of(
        std::array{"state", "keyslot", "old-secret", "new-secret", "iter-time"},
        [&](const char* option) { return has(option); });
  }
  KeySlotChange change(const Secrets& secrets) const;

 private:
  std::string name(std::string_view option) const { return fmt::format("{}{}", prefix_, option); }
  bool has(std::string_view option) const { return values_.has(name(option)); }
  std::string text(std::string_view option) const { return *values_.get(name(option)); }
  bool activates() const;
  void check_combination(bool activate) const;

  std::string_view prefix_;
  const OptionValues& values_;
};

bool KeySlotArguments::activates() const {
  if (!has("state")) throw Failure("Parameter 'state' is missing");
  const std::string state = text("state");
  if (state != "active" && state != "inactive") throw not_accepted("state", state);
  return state == "active";
}

void KeySlotArguments::check_combination(bool activate) const {
  if (activate) {
    if (!has("new-secret")) throw Failure("'new-secret' is required to activate a keyslot");
    if (has("old-secret")) {
      throw Failure("'old-secret' must not be given when activating keyslots");
    }
    return;
  }
  if (has("new-secret")) throw Failure("'new-secret' must not be given when erasing keyslots");
  if (has("iter-time")) throw Failure("'iter-time' must not be given when erasing keyslots");
  if (!has("keyslot") && !has("old-secret")) {
    throw Failure(
        "To erase keyslot(s), either explicit keyslot index or the password currently contained in "
        "them must be given");
  }
}

KeySlotChange KeySlotArguments::change(const Secrets& secrets) const {
  KeySlotChange change;
  change.activate = activates();
  check_combination(change.activate);
  if (has("new-secret")) change.new_secret = find_passphrase(secrets, text("new-secret"));
  if (has("old-secret")) change.old_secret = find_passphrase(secrets, text("old-secret"));
  change.key_slot = values_.small_number(name("keyslot"));
  // To the library, zero means the default.
  if (const auto time = values_.number(name("iter-time"))) {
    change.iter_time_ms = std::max<std::uint64_t>(*time, 1);
  }
  return change;
}

void set_key_slot(const OptionValues& values, const Image& image, const Secrets& secrets,
                  AmendOptions& options) {
  const KeySlotArguments arguments(encryption_prefix(image.format()), values);
  if (!arguments.any_given()) return;
  const EncryptionFormat encryption = image.info().encryption;
  if (encryption == EncryptionFormat::none) {
    throw Failure("Can't amend encryption options - encryption not present");
  }
  if (encryption != EncryptionFormat::luks) {
    throw Failure("Only LUKS encryption options can be amended");
  }
  options.key_slot = arguments.change(secrets);
}

void set_data_file(const OptionValues& values, const Image& image, AmendOptions& options) {
  options.data_file = values.get("data_file");
  options.data_file_raw = values.boolean("data_file_raw");
  if (!options.data_file && !options.data_file_raw) return;
  const ImageInfo info = image.info();
  if (options.data_file && info.qcow2->data_file.empty()) {
    throw Failure("data-file can only be set for images that use an external data file");
  }
  if (options.data_file_raw == info.qcow2->data_file_raw) options.data_file_raw.reset();
  if (options.data_file_raw == true) {
    throw Failure("data-file-raw cannot be set on existing images");
  }
}

}  // namespace

AmendOptions amend_options_from(std::string_view list, const Image& image, const Secrets& secrets,
                                std::string_view program) {
  const std::string& format = image.format();
  if (amend_options(format).empty()) {
    throw Failure(fmt::format("Format driver '{}' does not support option amendment", format));
  }
  refuse_creation_options(format, list);
  const OptionValues values(amend_options(format), list);

  AmendOptions options;
  check_backing_file(values, image, program);
  if (const auto level = values.get("compat")) options.version = parse_version(*level);
  // In the reference, a size of zero is one that was not given.
  if (const std::uint64_t size = size_of(values)) options.size_bytes = size;
  options.lazy_refcounts = values.boolean("lazy_refcounts");
  options.refcount_bits = values.small_number("refcount_bits");
  set_key_slot(values, image, secrets, options);
  set_data_file(values, image, options);
  return options;
}

}  // namespace qcowkit::cli
