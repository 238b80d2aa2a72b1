#include "tests/formats/qcow2/header_fixture.h"

namespace qcowkit::test {

HeaderBytes header_with(const std::function<void(qcow2::RawHeader&)>& change, std::uint32_t version,
                        std::uint32_t cluster_bits) {
  HeaderBytes header(version, cluster_bits);
  change(header.raw);
  return header;
}

std::string be(std::initializer_list<std::uint64_t> words) {
  std::string bytes(words.size() * 8, '\0');
  char* at = bytes.data();
  for (const std::uint64_t word : words) {
    store_big_endian(at, word);
    at += 8;
  }
  return bytes;
}

std::string bitmaps_extension(std::uint32_t nb_bitmaps, std::uint32_t reserved, std::uint64_t size,
                              std::uint64_t offset) {
  return be({std::uint64_t{nb_bitmaps} << 32 | reserved, size, offset});
}

std::string feature_name(std::uint8_t type, std::uint8_t bit, const std::string& name) {
  std::string entry(48, '\0');
  entry[0] = static_cast<char>(type);
  entry[1] = static_cast<char>(bit);
  name.copy(entry.data() + 2, 46);
  return entry;
}

HeaderBytes rich_header(std::mt19937_64& random) {
  HeaderBytes header(random() % 4 == 0 ? 2 : 3, random() % 2 == 0 ? 16 : 9);
  if (random() % 2 == 0) header.raw.autoclear_features = qcow2::autoclear::kBitmaps;
  header.extend(qcow2::extension::kBackingFormat, "qcow2");
  if (random() % 2 == 0) header.extend(qcow2::extension::kDataFileName, "disk.raw");
  if (random() % 2 == 0) {
    header.extend(qcow2::extension::kBitmaps, bitmaps_extension(1, 0, 32, 5 << 16));
  }
  if (random() % 2 == 0) {
    header.raw.crypt_method = 2;
    header.extend(qcow2::extension::kEncryptionHeader, be({4 << 16, 4096}));
  }
  header.extend(qcow2::extension::kFeatureNames, feature_name(0, 5, "five"))
      .extend(0x12345678, "unknown");
  header.extend(qcow2::extension::kEnd, "");
  return header.back(header.extensions_end(), "base.qcow2");
}

}  // namespace qcowkit::test
