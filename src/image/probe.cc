#include "image/probe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "crypto/luks_header.h"
#include "formats/qcow1/header.h"
#include "formats/qcow2/header.h"

namespace qcowkit {

namespace {

struct Signature {
  std::string_view format;
  std::size_t offset;
  std::string_view bytes;
};

using namespace std::string_view_literals;

// Other formats whose images must not be taken for raw ones: their bytes are not a disk's.
constexpr std::array kOtherFormats = {
    Signature{"vmdk", 0, "KDMV"sv},
    Signature{"vmdk", 0, "COWD"sv},
    Signature{"vmdk", 0, "# Disk DescriptorFile"sv},
    Signature{"vhdx", 0, "vhdxfile"sv},
    Signature{"vpc", 0, "conectix"sv},
    Signature{"vdi", 0x40, "\x7f\x10\xda\xbe"sv},
    Signature{"qed", 0, "QED\0"sv},
    Signature{"parallels", 0, "WithoutFreeSpace"sv},
    Signature{"parallels", 0, "WithouFreSpacExt"sv},
};

}  // namespace

std::string probe_format(std::span<const std::byte> first_bytes) {
  if (qcow1::Header::probe(first_bytes)) return "qcow";
  if (qcow2::Header::probe(first_bytes)) return "qcow2";
  if (crypto::LuksHeader::probe(first_bytes)) return "luks";
  for (const Signature& signature : kOtherFormats) {
    if (first_bytes.size() >= signature.offset + signature.bytes.size() &&
        std::memcmp(first_bytes.data() + signature.offset, signature.bytes.data(),
                    signature.bytes.size()) == 0) {
      return std::string(signature.format);
    }
  }
  return "raw";
}

}  // namespace qcowkit
