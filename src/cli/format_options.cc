// The -o options that each format has.
#include "cli/format_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <vector>

#include "cli/failure.h"

namespace qcowkit::cli {

namespace {

using Type = FormatOption::Type;

constexpr FormatOption text(std::string_view name, std::string_view help,
                            std::string_view default_text = "") {
  return {name, Type::string, default_text, help};
}
constexpr FormatOption number(std::string_view name, std::string_view help,
                              std::string_view default_text = "") {
  return {name, Type::number, default_text, help};
}
constexpr FormatOption size(std::string_view name, std::string_view help,
                            std::string_view default_text = "") {
  return {name, Type::size, default_text, help};
}
constexpr FormatOption boolean(std::string_view name, std::string_view help,
                               std::string_view default_text = "") {
  return {name, Type::boolean, default_text, help};
}
constexpr FormatOption of_file(FormatOption option) {
  option.belongs_to_file = true;
  return option;
}
constexpr FormatOption added(FormatOption option) {
  option.is_addition = true;
  return option;
}

template <std::size_t... kSizes>
constexpr auto join(const std::array<FormatOption, kSizes>&... lists) {
  std::array<FormatOption, (kSizes + ...)> all{};
  auto next = all.begin();
  ((next = std::copy(lists.begin(), lists.end(), next)), ...);
  return all;
}

constexpr std::string_view kEncryptionPrefix = "encrypt.";

/// What an image that is encrypted as a whole calls the options of one that has encrypted clusters.
template <std::size_t kCount>
constexpr auto without_prefix(std::array<FormatOption, kCount> options) {
  for (FormatOption& option : options) option.name.remove_prefix(kEncryptionPrefix.size());
  return options;
}

constexpr FormatOption kSize = size("size", "Virtual disk size");
constexpr FormatOption kBackingFile = text("backing_file", "File name of a base image");
constexpr FormatOption kEncryption =
    boolean("encryption",
            "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)");

constexpr std::array kLuksCreateOptions = {
    text("encrypt.cipher-alg", "Name of encryption cipher algorithm"),
    text("encrypt.cipher-mode", "Name of encryption cipher mode"),
    text("encrypt.ivgen-alg", "Name of IV generator algorithm"),
    text("encrypt.ivgen-hash-alg", "Name of IV generator hash algorithm"),
    text("encrypt.hash-alg", "Name of encryption hash algorithm"),
    number("encrypt.iter-time", "Time to spend in PBKDF in milliseconds"),
};
constexpr std::array kLuksAmendOptions = {
    text("encrypt.state", "Select new state of affected keyslots (active/inactive)"),
    number("encrypt.keyslot", "Select a single keyslot to modify explicitly"),
    text("encrypt.old-secret", "Select all keyslots that match this password"),
    text("encrypt.new-secret", "New secret to set in the matching keyslots. Empty string to erase"),
    number("encrypt.iter-time", "Time to spend in PBKDF in milliseconds"),
};

constexpr std::array kHostOptions = {
    of_file(boolean("nocow", "Turn off copy-on-write (valid only on btrfs)")),
    of_file(size("extent_size_hint", "Extent size hint for the image file, 0 to disable")),
};
/// Of files that hold a format which preallocates nothing itself.
constexpr std::array kFileOptions = join(
    std::array{
        of_file(text("preallocation", "Preallocation mode (allowed values: off, falloc, full)"))},
    kHostOptions);

/// What both the creation of a qcow2 image and its amendment have, between options of their own.
constexpr std::array kQcow2References = {
    kSize,
    text("compat", "Compatibility level (v2 [0.10] or v3 [1.1])"),
    kBackingFile,
    text("backing_fmt", "Image format of the base image"),
    text("data_file", "File name of an external data file"),
    boolean("data_file_raw", "The external data file must stay valid as a raw image"),
};
constexpr std::array kQcow2RefcountOptions = {
    boolean("lazy_refcounts", "Postpone refcount updates", "off"),
    number("refcount_bits", "Width of a reference count entry in bits", "16"),
};

constexpr std::array kQcow2Options = join(
    std::array{
        kEncryption,
        text("encrypt.format", "Encrypt the image, format choices: 'aes', 'luks'"),
        text("encrypt.key-secret", "ID of secret providing qcow AES key or LUKS passphrase"),
    },
    kLuksCreateOptions,
    std::array{
        size("cluster_size", "qcow2 cluster size", "65536"),
        boolean("extended_l2", "Extended L2 tables", "off"),
        text("preallocation", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
        text("compression_type", "Compression method used for image cluster compression", "zlib"),
        added(number("compression_level",
                     "How hard to compress (convert -c only; zlib: 1 to 9, zstd: 1 to 22)")),
    },
    kQcow2References, kQcow2RefcountOptions, kHostOptions);
constexpr std::array kQcow2AmendOptions =
    join(kLuksAmendOptions, kQcow2References, kQcow2RefcountOptions);

constexpr std::array kQcowOptions = join(
    std::array{
        kSize,
        kBackingFile,
        text("backing_fmt", "Format of the backing image"),
        kEncryption,
        text("encrypt.format", "Encrypt the image, format choices: 'aes'"),
        text("encrypt.key-secret", "ID of the secret that provides the AES encryption key"),
    },
    kFileOptions);

constexpr std::array kLuksOptions = join(
    std::array{
        kSize,
        text("key-secret", "ID of the secret that provides the keyslot passphrase"),
    },
    without_prefix(kLuksCreateOptions), kFileOptions);
constexpr std::array kPlainLuksAmendOptions = without_prefix(kLuksAmendOptions);

constexpr std::array kRawOptions = join(std::array{kSize}, kFileOptions);

struct Format {
  std::string_view name;
  std::span<const FormatOption> create;
  std::span<const FormatOption> amend;
  std::string_view encryption_prefix;
};

constexpr std::array kFormats = {
    Format{"qcow2", kQcow2Options, kQcow2AmendOptions, kEncryptionPrefix},
    Format{"qcow", kQcowOptions, {}, kEncryptionPrefix},
    Format{"luks", kLuksOptions, kPlainLuksAmendOptions, ""},
    Format{"raw", kRawOptions, {}, ""},
};

const Format* find_format(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &Format::name);
  return found == kFormats.end() ? nullptr : &*found;
}

const Format& require_format(std::string_view name) {
  const Format* const format = find_format(name);
  if (format == nullptr) throw Failure(fmt::format("Unknown file format '{}'", name));
  return *format;
}

std::string_view type_text(Type type) {
  switch (type) {
    case Type::size:
      return "size";
    case Type::boolean:
      return "bool (on/off)";
    case Type::number:
      return "num";
    case Type::string:
      break;
  }
  return "str";
}

void print_list(Console& console, std::span<const FormatOption> known, bool with_file_options) {
  std::vector<FormatOption> options(known.begin(), known.end());
  std::ranges::sort(options, {}, &FormatOption::name);
  for (const FormatOption& option : options) {
    if (option.belongs_to_file && !with_file_options) continue;
    if (option.is_addition && console.is_reference()) continue;
    console.print("  {:<22} - {}\n", fmt::format("{}=<{}>", option.name, type_text(option.type)),
                  option.help);
  }
}

}  // namespace

bool is_known_format(std::string_view format) { return find_format(format) != nullptr; }

std::span<const FormatOption> create_options(std::string_view format) {
  const Format* const found = find_format(format);
  return found == nullptr ? std::span<const FormatOption>{} : found->create;
}

std::span<const FormatOption> amend_options(std::string_view format) {
  const Format* const found = find_format(format);
  return found == nullptr ? std::span<const FormatOption>{} : found->amend;
}

const FormatOption* find_option(std::span<const FormatOption> options, std::string_view name) {
  for (const FormatOption& option : options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

std::string_view encryption_prefix(std::string_view format) {
  const Format* const found = find_format(format);
  return found == nullptr ? std::string_view{} : found->encryption_prefix;
}

void print_create_options(Console& console, std::string_view format, bool with_file_options) {
  const Format& known = require_format(format);
  if (with_file_options) {
    console.write("Supported options:\n");
  } else {
    console.print("Supported {} options:\n", format);
  }
  print_list(console, known.create, with_file_options);
  if (!with_file_options) {
    console.write(
        "\nThe protocol level may support further options.\n"
        "Specify the target filename to include those options.\n");
  }
}

void print_amend_options(Console& console, std::string_view format) {
  const Format& known = require_format(format);
  if (known.amend.empty()) {
    throw Failure(fmt::format("Format driver '{}' does not support option amendment", format));
  }
  console.print("Amend options for '{}':\n", format);
  print_list(console, known.amend, true);
}

}  // namespace qcowkit::cli
