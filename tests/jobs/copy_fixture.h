// What tests of copies share: kinds of images to copy from and to, and how a copy is looked at.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "qcowkit/jobs.h"
#include "tests/jobs/images.h"

namespace qcowkit::test {

inline constexpr std::uint64_t kKiB = 1 << 10;
inline constexpr std::uint64_t kMiB = 1 << 20;
inline constexpr std::uint64_t kTiB = std::uint64_t{1} << 40;

/// A kind of image that can be copied from and to.
struct Kind {
  const char* name;
  std::uint64_t cluster_size_bytes;  // 0: raw
  bool extended_l2 = false;
  CompressionType compression = CompressionType::deflate;
};

inline CreateOptions options_for(const Kind& kind, std::uint64_t size_bytes) {
  if (kind.cluster_size_bytes == 0) return raw_options(size_bytes);
  CreateOptions options = qcow2_options(size_bytes, kind.cluster_size_bytes);
  options.extended_l2 = kind.extended_l2;
  options.compression = kind.compression;
  return options;
}

inline constexpr Kind kKinds[] = {{"raw", 0},
                                  {"clusters512", 512},
                                  {"clusters64k", 65536},
                                  {"zstd64k", 65536, false, CompressionType::zstd},
                                  {"extended128k", 131072, true},
                                  {"clusters2M", 2 * kMiB}};

inline CopyOptions new_target() {
  CopyOptions options;
  options.target_is_zero = true;
  return options;
}

/// The whole content of an image's storage.
inline Bytes stored_bytes(Image& image) {
  image.flush();
  Bytes bytes(image.storage().size());
  image.storage().read(0, bytes);
  return bytes;
}

inline void expect_sound(Image& image) {
  if (image.cluster_size() == 0) return;
  image.flush();
  const CheckReport report = image.check();
  EXPECT_EQ(report.corruptions, 0u);
  EXPECT_EQ(report.leaks, 0u);
  for (const std::string& message : report.messages) ADD_FAILURE() << message;
}

}  // namespace qcowkit::test
