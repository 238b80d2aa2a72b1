// A change of an image as a whole: the files before it, and what the image is before and after.
#pragma once

#include <gtest/gtest.h>

#include "tests/crash/life_cases.h"
#include "tests/crash/life_state.h"

namespace qcowkit::test {

class LifeFixture : public testing::TestWithParam<LifeCase> {
 protected:
  LifeFixture() : start_(prepared_files(GetParam())) {
    const ImageFiles files = start_.clone();
    before_ = read_state(shape(), files);
    OpenedImage image(shape(), files, OpenedImage::Mode::read_write);
    GetParam().operation(image.layer());
    image.layer().close();
    after_ = read_state(shape(), files);
  }

  static const Shape& shape() { return GetParam().shape; }

  const ImageFiles start_;
  LifeState before_;
  LifeState after_;
};

}  // namespace qcowkit::test
