// Image files with backing files, for the tests of jobs that change chains.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/jobs/images.h"
#include "tests/jobs/random_chain.h"
#include "tests/support/temp_dir.h"

namespace qcowkit::test {

class ChainFixture : public testing::Test {
 protected:
  std::string file(const std::string& name) const { return dir_.file(name); }
  /// Makes a qcow2 image and returns its path.
  std::string make(const std::string& name, std::uint64_t size_bytes,
                   const std::string& backing = {},
                   const std::string& backing_format = "qcow2") const {
    CreateOptions options = qcow2_options(size_bytes);
    options.backing_file = backing;
    options.backing_format = backing.empty() ? "" : backing_format;
    options.cache = CacheMode::unsafe;
    Image::create(file(name), options);
    return file(name);
  }
  static std::unique_ptr<Image> open(const std::string& path) {
    return Image::open(path, open_for_writing(""));
  }

  const TempDir dir_;
};

}  // namespace qcowkit::test
