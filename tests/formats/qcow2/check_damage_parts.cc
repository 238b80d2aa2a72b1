#include "tests/formats/qcow2/check_damage_parts.h"

namespace qcowkit::qcow2::test {

SmallImage plain_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  for (std::uint64_t i = 70; i < 74; ++i) image.map(i);
  image.finish();
  return image;
}

SmallImage snapshot_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  image.take_snapshot();
  image.map(4);
  image.map(5);
  image.finish();
  return image;
}

SmallImage shared_table_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 10; ++i) image.map(i);
  image.take_snapshot();
  image.finish();
  return image;
}

SmallImage compressed_image(const ImageShape& shape) {
  SmallImage image(shape);
  image.map(0);
  image.map_compressed(1);
  image.map_compressed(2);
  image.map(3);
  image.finish();
  return image;
}

SmallImage bitmap_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 4; ++i) image.map(i);
  image.add_bitmap();
  image.add_encryption_header();
  image.finish();
  return image;
}

SmallImage rich_image(const ImageShape& shape) {
  SmallImage image(shape);
  for (std::uint64_t i = 0; i < 6; ++i) image.map(i);
  image.map_zero(8);
  if (shape.version >= 3) image.map_plain_zero(9);
  if (!shape.data_file) {
    image.map_compressed(10);
    if (shape.refcount_order > 1) {  // they share a cluster
      image.map_compressed(11);
      image.map_compressed(12);
    }
    if (shape.refcount_order > 3) {
      image.take_snapshot();
      image.map(2);
      image.map(70);
      image.take_snapshot();
      image.map(71);
      image.map(9);
    }
  }
  if (shape.version >= 3) {
    image.add_bitmap();
    image.add_encryption_header();
  }
  image.finish();
  return image;
}

std::function<SmallImage()> damaged(SmallImage (*make)(const ImageShape&), const ImageShape& shape,
                                    Change change) {
  return [=] {
    SmallImage image = make(shape);
    change(image);
    return image;
  };
}

std::function<SmallImage()> damaged(Change change) { return damaged(plain_image, {}, change); }
std::function<SmallImage()> with_snapshot(Change change) {
  return damaged(snapshot_image, {}, change);
}

}  // namespace qcowkit::qcow2::test
