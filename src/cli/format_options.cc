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

constexpr FormatOption kSize{"size", Type::size, "", "Virtual disk size"};
constexpr FormatOption kCompat{"compat", Type::string, "",
                               "Compatibility level (v2 [0.10] or v3 [1.1])"};
constexpr FormatOption kBackingFile{"backing_file", Type::string, "", "File name of a base image"};
constexpr FormatOption kBackingFormat{"backing_fmt", Type::string, "",
                                      "Image format of the base image"};
constexpr FormatOption kDataFile{"data_file", Type::string, "",
                                 "File name of an external data file"};
constexpr FormatOption kDataFileRaw{"data_file_raw", Type::boolean, "",
                                    "The external data file must stay valid as a raw image"};
constexpr FormatOption kEncryption{
    "encryption", Type::boolean, "",
    "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"};
constexpr std::string_view kCipherAlgHelp = "Name of encryption cipher algorithm";
constexpr std::string_view kCipherModeHelp = "Name of encryption cipher mode";
constexpr std::string_view kIvgenAlgHelp = "Name of IV generator algorithm";
constexpr std::string_view kIvgenHashAlgHelp = "Name of IV generator hash algorithm";
constexpr std::string_view kHashAlgHelp = "Name of encryption hash algorithm";
constexpr std::string_view kIterTimeHelp = "Time to spend in PBKDF in milliseconds";
constexpr std::string_view kStateHelp = "Select new state of affected keyslots (active/inactive)";
constexpr std::string_view kKeySlotHelp = "Select a single keyslot to modify explicitly";
constexpr std::string_view kOldSecretHelp = "Select all keyslots that match this password";
constexpr std::string_view kNewSecretHelp =
    "New secret to set in the matching keyslots. Empty string to erase";

constexpr FormatOption kFilePreallocation{"preallocation", Type::string, "",
                                          "Preallocation mode (allowed values: off, falloc, full)",
                                          true};
constexpr FormatOption kNoCow{"nocow", Type::boolean, "",
                              "Turn off copy-on-write (valid only on btrfs)", true};
constexpr FormatOption kExtentSizeHint{"extent_size_hint", Type::size, "",
                                       "Extent size hint for the image file, 0 to disable", true};

constexpr std::array kQcow2Options = {
    kEncryption,
    FormatOption{"encrypt.format", Type::string, "",
                 "Encrypt the image, format choices: 'aes', 'luks'"},
    FormatOption{"encrypt.key-secret", Type::string, "",
                 "ID of secret providing qcow AES key or LUKS passphrase"},
    FormatOption{"encrypt.cipher-alg", Type::string, "", kCipherAlgHelp},
    FormatOption{"encrypt.cipher-mode", Type::string, "", kCipherModeHelp},
    FormatOption{"encrypt.ivgen-alg", Type::string, "", kIvgenAlgHelp},
    FormatOption{"encrypt.ivgen-hash-alg", Type::string, "", kIvgenHashAlgHelp},
    FormatOption{"encrypt.hash-alg", Type::string, "", kHashAlgHelp},
    FormatOption{"encrypt.iter-time", Type::number, "", kIterTimeHelp},
    FormatOption{"cluster_size", Type::size, "65536", "qcow2 cluster size"},
    FormatOption{"extended_l2", Type::boolean, "off", "Extended L2 tables"},
    FormatOption{"preallocation", Type::string, "",
                 "Preallocation mode (allowed values: off, metadata, falloc, full)"},
    FormatOption{"compression_type", Type::string, "zlib",
                 "Compression method used for image cluster compression"},
    FormatOption{"compression_level", Type::number, "",
                 "How hard to compress (convert -c only; zlib: 1 to 9, zstd: 1 to 22)", false,
                 true},
    kSize,
    kCompat,
    kBackingFile,
    kBackingFormat,
    kDataFile,
    kDataFileRaw,
    FormatOption{"lazy_refcounts", Type::boolean, "off", "Postpone refcount updates"},
    FormatOption{"refcount_bits", Type::number, "16", "Width of a reference count entry in bits"},
    kNoCow,
    kExtentSizeHint,
};

constexpr std::array kQcow2AmendOptions = {
    FormatOption{"encrypt.state", Type::string, "", kStateHelp},
    FormatOption{"encrypt.keyslot", Type::number, "", kKeySlotHelp},
    FormatOption{"encrypt.old-secret", Type::string, "", kOldSecretHelp},
    FormatOption{"encrypt.new-secret", Type::string, "", kNewSecretHelp},
    FormatOption{"encrypt.iter-time", Type::number, "", kIterTimeHelp},
    kSize,
    kCompat,
    kBackingFile,
    kBackingFormat,
    kDataFile,
    kDataFileRaw,
    FormatOption{"lazy_refcounts", Type::boolean, "", "Postpone refcount updates"},
    FormatOption{"refcount_bits", Type::number, "", "Width of a reference count entry in bits"},
};

constexpr std::array kQcowOptions = {
    kSize,
    kBackingFile,
    FormatOption{"backing_fmt", Type::string, "", "Format of the backing image"},
    kEncryption,
    FormatOption{"encrypt.format", Type::string, "", "Encrypt the image, format choices: 'aes'"},
    FormatOption{"encrypt.key-secret", Type::string, "",
                 "ID of the secret that provides the AES encryption key"},
    kFilePreallocation,
    kNoCow,
    kExtentSizeHint,
};

constexpr std::array kLuksOptions = {
    kSize,
    FormatOption{"key-secret", Type::string, "",
                 "ID of the secret that provides the keyslot passphrase"},
    FormatOption{"cipher-alg", Type::string, "", kCipherAlgHelp},
    FormatOption{"cipher-mode", Type::string, "", kCipherModeHelp},
    FormatOption{"ivgen-alg", Type::string, "", kIvgenAlgHelp},
    FormatOption{"ivgen-hash-alg", Type::string, "", kIvgenHashAlgHelp},
    FormatOption{"hash-alg", Type::string, "", kHashAlgHelp},
    FormatOption{"iter-time", Type::number, "", kIterTimeHelp},
    kFilePreallocation,
    kNoCow,
    kExtentSizeHint,
};

constexpr std::array kLuksAmendOptions = {
    FormatOption{"state", Type::string, "", kStateHelp},
    FormatOption{"keyslot", Type::number, "", kKeySlotHelp},
    FormatOption{"old-secret", Type::string, "", kOldSecretHelp},
    FormatOption{"new-secret", Type::string, "", kNewSecretHelp},
    FormatOption{"iter-time", Type::number, "", kIterTimeHelp},
};

constexpr std::array kRawOptions = {kSize, kFilePreallocation, kNoCow, kExtentSizeHint};

struct Format {
  std::string_view name;
  std::span<const FormatOption> create;
  std::span<const FormatOption> amend;
  std::string_view encryption_prefix;
};

constexpr std::array kFormats = {
    Format{"qcow2", kQcow2Options, kQcow2AmendOptions, "encrypt."},
    Format{"qcow", kQcowOptions, {}, "encrypt."},
    Format{"luks", kLuksOptions, kLuksAmendOptions, ""},
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
