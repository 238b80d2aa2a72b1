// Changes of images as a whole, and the images that they are made to.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/crash/image_files.h"

namespace qcowkit::test {

/// One operation on one image.
struct LifeCase {
  std::string name;
  Shape shape;
  std::function<void(Layer& layer)> prepare;  ///< makes a new image what the operation is made to
  std::function<void(Layer& layer)> operation;
  bool tidies_up = false;  ///< ends with a write that nobody misses if it fails
};
inline void PrintTo(const LifeCase& c, std::ostream* out) { *out << c.name; }

/// Every operation on every kind of image that knows it.
std::vector<LifeCase> life_cases();

/// The image of a case, prepared and closed.
ImageFiles prepared_files(const LifeCase& c);

}  // namespace qcowkit::test
